"""Client: what knows the engines."""

from __future__ import annotations

from typing import Any

from .link import EmbeddedLink


class Client:
    """The client over the engines of a Pool (``pool.client``).

    Lists the engines that serve now; views are made from it.
    """

    def __init__(self, link: EmbeddedLink) -> None:
        self._link = link

    @classmethod
    def embedded(cls, crew: Any, places: int, *, quota: int | None = None, serializer: str = "cloudpickle") -> Client:
        """A client that hosts the scheduler in this process, with ``places`` engines started by ``crew``."""
        return cls(EmbeddedLink(crew, places, quota=quota, serializer=serializer))

    @property
    def link(self) -> EmbeddedLink:
        """The way to the host."""
        return self._link

    @property
    def ids(self) -> list[int]:
        """The ids of the engines that serve now, ascending."""
        return sorted(self._link.host.scheduler.engines)

    def __len__(self) -> int:
        return len(self._link.host.scheduler.engines)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Client: engines {self.ids}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("clients cannot be passed between processes or pickled")
