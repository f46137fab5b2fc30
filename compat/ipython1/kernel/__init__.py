"""The modules ``client`` and ``error``."""

from . import client, error

__all__ = ["client", "error"]
