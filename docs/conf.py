"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import importlib.metadata

project = "AstroAnomaly"
author = "The AstroAnomaly developers"
copyright = author
release = importlib.metadata.version("astroanomaly")
version = release

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}  # the latter for pages made by autosummary
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "paper"]
default_role = "py:obj"
nitpicky = False  # types of other packages have no inventory without a network

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"  # numpydoc sections say more
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "AstroAnomaly"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_sidebars = {"index": [], "results": [], "comparison": []}
html_show_sourcelink = False
