"""How many engines there should be, and when to stop trying to start them.

An engine that dies is replaced. One that dies before it was ready, or whose initializer raises, is a failed start;
where starts keep failing and no engine serves, trying on would only burn the machine: the staff is *broken*, and says
why.
"""

from __future__ import annotations

MAX_FAILURES = 3  #: failed starts in a row, for each place


class Staff:
    """Places for engines."""

    __slots__ = ("places", "starting", "serving", "failures", "broken", "hiring")

    def __init__(self, places: int) -> None:
        self.places = places
        self.starting: set[str] = set()
        self.serving: set[str] = set()
        self.failures = 0  #: failed starts since one succeeded
        self.broken = False
        self.hiring = True  #: False once the engines are to end for good

    def started(self, uid: str) -> None:
        """An engine's process was started."""
        self.starting.add(uid)

    def ready(self, uid: str) -> None:
        """It has introduced itself."""
        self.starting.discard(uid)
        self.serving.add(uid)
        self.failures = 0

    def ended(self, uid: str, *, refused: bool = False) -> None:
        """Its process ended; ``refused``: it said that it cannot serve."""
        if uid in self.starting:
            self.failed(refused=refused)
        self.starting.discard(uid)
        self.serving.discard(uid)

    def failed(self, *, refused: bool = False) -> None:
        """A start has failed. One refusal for each place is enough; bad luck gets a few more chances."""
        self.failures += 1
        if not self.serving and self.failures >= self.places * (1 if refused else MAX_FAILURES):
            self.broken = True

    def vacancies(self) -> int:
        """How many engines should be started now."""
        if self.broken or not self.hiring or self.failures >= MAX_FAILURES * self.places:
            return 0
        return self.places - len(self.starting) - len(self.serving)
