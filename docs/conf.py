"""Sphinx's settings; `make docs` turns its warnings into errors."""

import os
from importlib.metadata import version as installed_version

# autodoc imports the modules, and with them TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

project = "kseq"
author = "The kseq developers"
copyright = author
version = release = installed_version("kseq")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"

# Links to headings, in the form that a reader of the repository can follow too.
myst_heading_anchors = 3

# `x` in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Keras writes its docstrings in Markdown, which is no reStructuredText.
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    ("Reference", "References"),
]
