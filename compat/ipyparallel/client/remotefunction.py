"""``ipyparallel.client.remotefunction``."""

from ..functions import ParallelFunction, RemoteFunction, parallel, remote

__all__ = ["ParallelFunction", "RemoteFunction", "parallel", "remote"]
