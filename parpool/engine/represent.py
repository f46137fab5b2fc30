"""How a value looks at home: its ``repr``, and the representations that a notebook can show, as any client can open them."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

from ..errors import TaskTimeout

_REPRESENTATIONS = {
    "_repr_html_": "text/html",
    "_repr_png_": "image/png",
    "_repr_svg_": "image/svg+xml",
    "_repr_markdown_": "text/markdown",
    "_repr_latex_": "text/latex",
    "_repr_json_": "application/json",
}


def text_of(value: Any) -> str:
    """The ``repr`` of a value; where that raises, what it raises."""
    try:
        return str.__str__(repr(value))  # not of a subclass
    except TaskTimeout:
        raise
    except Exception as error:
        return f"<{type(value).__name__} object whose repr raises {type(error).__name__}>"


def display_of(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its other representations by mime type, and what is said of these (their metadata)."""
    display, metadata = {}, {}
    for method, mime in _REPRESENTATIONS.items():
        try:
            # Of its class: many an object says that it has whatever attribute it is asked for.
            if not hasattr(type(value), method):
                continue
            data, about = getattr(value, method)(), None
            if isinstance(data, tuple):
                data, about = data
            if (data := plain(mime, data)) is not None:
                display[mime] = data
                if about:
                    metadata[mime] = plain("application/json", about)
        except TaskTimeout:
            raise
        except Exception:
            pass  # the text will do
    if picture := _figure(value):
        display["image/png"] = plain("image/png", picture)
    return display, metadata


def _figure(value: Any) -> bytes:
    """The picture of a figure of matplotlib, which leaves that to those who show it; b'' of anything else."""
    matplotlib = sys.modules.get("matplotlib.figure")  # whoever has one has imported it
    if matplotlib is None or not isinstance(value, matplotlib.Figure):
        return b""
    try:
        value.savefig(file := BytesIO(), format="png", bbox_inches="tight")
    except TaskTimeout:
        raise
    except Exception:
        return b""
    return file.getvalue()


def plain(mime: str, data: Any) -> Any:
    """What any client can open; None where there is nothing of the kind."""
    if isinstance(data, bytes):
        from base64 import b64encode

        return b64encode(data).decode() if mime.startswith(("image/", "application/pdf")) else None
    if isinstance(data, str):
        return str.__str__(data)
    if mime == "application/json" or mime.endswith("+json"):
        import json

        return json.loads(json.dumps(data))
    return None
