"""``ipyparallel.client.client``."""

from ..clients import Client
from ..metadata import Metadata
from ..reply import ExecuteReply

__all__ = ["Client", "ExecuteReply", "Metadata"]
