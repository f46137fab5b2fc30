"""IPython.kernel (2009): ``from parpool.compat.ipython_kernel import client as kclient``.

``kclient.MultiEngineClient()`` and ``kclient.TaskClient()`` are its clients. What differs is told in
``docs/migrating/ipython_kernel.md``.
"""

from . import client, error

__all__ = ["client", "error"]
