"""How Sphinx builds this documentation: ``tox -e docs``."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

import parpool

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "parpool"
author = "the parpool developers"
copyright = "the parpool developers"
version = release = parpool.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "states_directive"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the text says it, in the words of the manual

nitpicky = True
# Of other projects: their documentation is not at hand while this one is built, which needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(multiprocessing|concurrent|asyncio|datetime|threading)\..*"),
    ("py:.*", r"(ValueError|TypeError|OSError|RuntimeError|TimeoutError|StopIteration|Exception)"),
]

html_theme = "furo"
html_title = f"parpool {release}"
html_copy_source = False
html_show_sphinx = False

RESULTS = DOCS.parent / "benchmarks" / "RESULTS.md"
NOT_MEASURED = "This copy of parpool has no `benchmarks/RESULTS.md`. `python benchmarks/compare.py --write` makes one."


def without_results(app: Sphinx, page: str, source: list[str]) -> None:
    """A file that is not there cannot be included: say so instead."""
    if page == "performance" and not RESULTS.exists():
        before, directive, rest = source[0].partition("```{include}")
        source[0] = before + (NOT_MEASURED + rest.partition("```")[2] if directive else "")


def setup(app: Sphinx) -> None:
    app.connect("source-read", without_results)
