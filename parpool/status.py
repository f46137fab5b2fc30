"""How an outcome came about. Zero and above: an engine reports it. Below zero: the scheduler decided it."""

OK = 0  #: the function returned
ERROR = 1  #: the function raised
UNMET = 2  #: the task's functional dependency is not met on that engine: another may have it
OVERTIME = 3  #: interrupted at its time limit
LOST = -1  #: its engine died while it ran, and no retries were left
ABORTED = -2  #: taken back before it began
KILLED = -3  #: over its time limit and deaf to the interrupt, so its engine was ended
IMPOSSIBLE = -4  #: its dependencies, or its engines, can never be there
EXPIRED = -5  #: its dependencies were not met in time
