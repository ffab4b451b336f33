# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The configuration of Sphinx, which builds the documentation. The build needs no network."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docstrings import prepare_docstring

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "gearhorn"
author = "The gearhorn developers"
project_copyright = "The gearhorn developers"
release = version = importlib.metadata.version("gearhorn")

extensions = [
    "oslo_config.sphinxext",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    # Here, in _ext.
    "release_notes",
]

# Furo, as pip, attrs, black and urllib3 use: it groups pages under captions, fits a phone and has
# a dark side. (openstackdocstheme has no dark side, and alabaster no groups.)
html_theme = "furo"
html_title = "gearhorn"
html_static_path = ["_static"]
html_css_files = ["gearhorn.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5f8a",
        "color-brand-content": "#0b5f8a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb8e6",
        "color-brand-content": "#6cb8e6",
    },
}
html_show_sourcelink = False
html_copy_source = False

highlight_language = "none"
# What is copied of a session is what is typed, without prompts and output.
copybutton_prompt_text = r"\$ |> "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True

nitpicky = True
# Of other packages, whose inventories would have to be fetched.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(asyncio|collections|contextlib|os|ssl|types|typing|typing_extensions|msgspec)\..*",
    ),
    ("py:.*", r"(Exception|OSError|TypeError|ValueError|UnicodeDecodeError)"),
    ("py:.*", r"(bool|bytes|dict|float|int|object|str)"),
    # Inner names that annotations and docstrings mention.
    ("py:.*", r"gearhorn\.(client|messages|wire)\..*|Bytes"),
]

# `sphinx-build -b linkcheck` is for the links between pages; others need a network.
linkcheck_ignore = [r"https?://"]
linkcheck_anchors = True

# Overloads are for type checkers. For people one signature says the same.
for _module in ("gearhorn.client.async_publisher", "gearhorn.client.publisher"):
    _analyzer = ModuleAnalyzer.for_module(_module)
    _analyzer.analyze()
    _analyzer.overloads.clear()


def _add_parameters_of_bases(
    app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]
) -> None:
    """A class whose own docstring has no parameters has those that its base's docstring has."""
    if what != "class" or any(line.startswith(":param") for line in lines):
        return
    for base in documented.__mro__[1:]:
        inherited = prepare_docstring(base.__doc__ or "")
        if base.__module__.startswith("gearhorn.client.") and ":param" in "".join(inherited):
            first = next(i for i, line in enumerate(inherited) if line.startswith(":param"))
            lines += ["", *inherited[first:]]
            return


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _add_parameters_of_bases)
