"""``ipyparallel.cluster``."""

from .clusters import Cluster

__all__ = ["Cluster"]
