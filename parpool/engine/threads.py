"""How many threads BLAS and OpenMP may have in an engine.

Their libraries read the environment when they are loaded. One that is loaded already, as in an engine that was forked
from a process with numpy in it, has to be told by its own functions; threadpoolctl, where it is installed, knows them.
"""

from __future__ import annotations

import os
import sys

from ..options import THREAD_VARIABLES

#: Modules that bring such libraries with them. Where none is loaded there is nobody to be told.
BRINGERS = ("numpy", "scipy", "torch", "sklearn", "numexpr")


def limit_threads(threads: int) -> None:
    """So many from here on, in what is loaded and in what will be; 0: as it was."""
    if not threads:
        return
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if any(name in sys.modules for name in BRINGERS):
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return
        threadpool_limits(threads)
