"""``ipyparallel.client.asyncresult``."""

from ..results import AsyncHubResult, AsyncMapResult, AsyncResult

__all__ = ["AsyncHubResult", "AsyncMapResult", "AsyncResult"]
