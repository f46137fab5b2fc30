"""IPython1 (2008): ``from parpool.compat.ipython1.kernel import client``, and ``client.MultiEngineClient(...)``.

What differs is told in ``docs/migrating/ipython1.md``.
"""

from .kernel import client, error

__all__ = ["client", "error"]
