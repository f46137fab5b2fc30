"""``ipyparallel.joblib``: parpool's backend of joblib, by the name that ipyparallel has for it.

Only this module needs joblib.
"""

from __future__ import annotations

import weakref
from typing import Any

from joblib import register_parallel_backend

import parpool

from ..joblib import ParpoolBackend


def register(name: str = "ipyparallel", make_default: bool = False, client: parpool.Client | None = None) -> None:
    """Make the engines of a client a backend; without one, those of the default cluster when the backend is used.

    Where that does not run, engines are started here.
    """

    def backend(**options: Any) -> ParpoolBackend:
        if client is not None:
            return ParpoolBackend(client=client, **options)
        if options.keys() & {"client", "pool"}:
            return ParpoolBackend(**options)
        try:
            connected = parpool.Client()
        except parpool.ConnectionFileError:
            return ParpoolBackend(**options)
        made = ParpoolBackend(client=connected, **options)
        weakref.finalize(made, connected.close)
        return made

    register_parallel_backend(name, backend, make_default=make_default)
