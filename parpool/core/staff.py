"""How many engines there should be, and when to stop trying to start them.

An engine that dies is replaced. One that dies before it was ready, or whose initializer raises, is a failed start, and
so is one for which the system gave no process. Where starts keep failing and no engine serves, trying on would only burn
the machine: the staff is *broken*, and says why.
"""

from __future__ import annotations

MAX_FAILURES = 10  #: failed starts in a row, for each place


class Staff:
    """Places for engines."""

    __slots__ = ("places", "starting", "serving", "failures", "refused", "broken", "hiring")

    def __init__(self, places: int) -> None:
        self.places = places
        self.starting: set[str] = set()
        self.serving: set[str] = set()
        self.failures = 0  #: failed starts since one succeeded
        self.refused = False  #: has one said that it could not serve, since one succeeded?
        self.broken = False
        self.hiring = True  #: False once the engines are to end for good

    def started(self, uid: str) -> None:
        """An engine's process was started."""
        self.starting.add(uid)

    def not_started(self) -> None:
        """The system gave no process; as a rule it does again soon, so that one failure is not the end."""
        self.failures += 1
        if not (self.starting or self.serving) and self.failures >= MAX_FAILURES:
            self.broken = True

    def ready(self, uid: str) -> None:
        """It has introduced itself."""
        self.starting.discard(uid)
        self.serving.add(uid)
        self.failures = 0
        self.refused = False

    def ended(self, uid: str, *, failed: bool = False) -> None:
        """Its process ended; ``failed``: it said that it could not serve."""
        failed_start = failed or uid in self.starting
        self.starting.discard(uid)
        self.serving.discard(uid)
        if not failed_start:
            return  # it has served: its place gets another try, whatever became of the others
        self.failures += 1
        if self.serving:
            return
        self.refused = self.refused or failed
        most = 1 if failed else MAX_FAILURES
        if self.failures >= (MAX_FAILURES * self.places if self.starting else most):
            self.broken = True

    def vacancies(self) -> int:
        """How many engines should be started now."""
        if self.broken or not self.hiring or not self.places:
            return 0
        if self.refused and self.starting:
            return 0  # an initializer that has raised does so again, as a rule: see first how the others fare
        if self.failures >= MAX_FAILURES * self.places:
            return 0 if self.starting or self.serving else 1  # the last try: it breaks the staff, or begins anew
        return self.places - len(self.starting) - len(self.serving)
