"""What a session imports: ``from parpool.compat.ipython1.kernel import client``."""

from .error import CompositeError
from .multiengineclient import MultiEngineClient
from .results import PendingResult, ResultList

__all__ = ["CompositeError", "MultiEngineClient", "PendingResult", "ResultList"]
