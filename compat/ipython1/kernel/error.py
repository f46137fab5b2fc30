"""The exceptions of the old clients."""

from parpool import CompositeError, ParpoolError, TaskAborted, TaskTimeout

__all__ = ["CompositeError", "KernelError", "ResultNotCompleted", "TaskAborted", "TaskTimeout"]

KernelError = ParpoolError


class ResultNotCompleted(ParpoolError):
    """A result was asked for, without waiting, that is not there yet."""
