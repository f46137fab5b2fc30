"""The exceptions of the old clients."""

from parpool import UnmetDependency

from ..ipython1.kernel.error import CompositeError, KernelError, ResultNotCompleted, TaskAborted, TaskTimeout

__all__ = ["CompositeError", "KernelError", "ResultNotCompleted", "TaskAborted", "TaskRejectError", "TaskTimeout"]

#: What a task raises that is to run on another engine.
TaskRejectError = UnmetDependency
