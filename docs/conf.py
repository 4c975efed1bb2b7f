"""How the documentation is built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tutorial_cells

project = "AstroAnomaly"
author = "The AstroAnomaly developers"
copyright = author
release = importlib.metadata.version("astroanomaly")
version = release

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design", "tutorial_cells"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}  # the first is that of pages made by autosummary
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "jupyter_execute", "paper"]
default_role = "py:obj"
nitpicky = False  # types of other packages have no inventory without a network

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Tutorials run when the documentation is built, in a temporary folder each, and again only after they were changed.
nb_execution_mode = tutorial_cells.execution_mode()
nb_execution_excludepatterns = tutorial_cells.left_out()
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # lines of progress
nb_merge_streams = True
nb_render_text_lexer = "none"
nb_number_source_lines = False
suppress_warnings = ["mystnb.mime_priority"]

autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"  # numpydoc sections say more
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "AstroAnomaly"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "results": [], "comparison": []}
html_show_sourcelink = False
