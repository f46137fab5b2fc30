"""Names of ipyparallel's that are not here."""

from __future__ import annotations

from collections.abc import Mapping


def lacking(owner: str, name: str, instead: Mapping[str, str]) -> AttributeError:
    """The error for a name that ``owner`` has not. ``instead``: what there is in its place, by the names there."""
    why = f": {instead[name]}" if name in instead else ""
    return AttributeError(f"{owner} has no attribute {name!r}{why}")
