"""What a session imports: ``from parpool.compat.ipython_kernel import client as kclient``."""

from __future__ import annotations

from typing import Any

from ..ipython1.kernel.multiengineclient import MultiEngineClient
from ..ipython1.kernel.results import PendingResult, ResultList
from .error import CompositeError, TaskRejectError
from .taskclient import TaskClient
from .taskresult import Namespace, TaskResult
from .tasks import MapTask, StringTask, Task

__all__ = [
    "CompositeError",
    "Deferred",
    "MapTask",
    "MultiEngineClient",
    "Namespace",
    "PendingDeferred",
    "PendingResult",
    "ResultList",
    "StringTask",
    "Task",
    "TaskClient",
    "TaskRejectError",
    "TaskResult",
    "get_multiengine_client",
    "get_task_client",
]

#: What was not there yet had several names, and is one thing here.
PendingDeferred = Deferred = PendingResult


def get_multiengine_client(addr: Any = None) -> MultiEngineClient:
    """``MultiEngineClient(addr)``."""
    return MultiEngineClient(addr)


def get_task_client(addr: Any = None) -> TaskClient:
    """``TaskClient(addr)``."""
    return TaskClient(addr)
