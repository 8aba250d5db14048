"""The book: the pages beside this file, and references made of the code, as a site. Built by `make docs`, offline."""

from codecsieve import __version__

project, author, copyright = "codecsieve", "The codecsieve maintainers", "The codecsieve maintainers, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
myst_heading_anchors = 4  # as GitHub has them, so that one link is right in both places
suppress_warnings: list[str] = []
default_role = "code"  # docstrings name things in single backticks

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "codecsieve"
