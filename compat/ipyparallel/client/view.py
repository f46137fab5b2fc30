"""``ipyparallel.client.view``."""

from ..balanced import LoadBalancedView
from ..executor import LazyMapIterator, ViewExecutor
from ..views import BroadcastView, DirectView, View

__all__ = ["BroadcastView", "DirectView", "LazyMapIterator", "LoadBalancedView", "View", "ViewExecutor"]
