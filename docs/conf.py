"""The book: the pages beside this file, and references made of the code, as a site. Built by `make docs`, offline."""

from __future__ import annotations

import re
from typing import Any

from codecsieve import __version__

project, author, copyright = "codecsieve", "The codecsieve maintainers", "The codecsieve maintainers, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
myst_heading_anchors = 4  # as GitHub has them, so that one link is right in both places
smartquotes = False  # two dashes begin an option
default_role = "code"  # docstrings name things in single backticks

autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"codecsieve {__version__}"

_OUTSIDE = re.compile(r"\[([^\]\n]+)\]\((\.\./[\w./-]+\.md)(?:#[\w-]+)?\)")


def _carry_documents(_: Any, __: str, source: list[str]) -> None:
    """Give the repository's other documents along as files: they are no pages of the book."""
    source[0] = _OUTSIDE.sub(r"{download}`\1 <\2>`", source[0])


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("source-read", _carry_documents)
