# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation."""

import importlib.metadata

project = "gearhorn"
author = "The gearhorn developers"
project_copyright = "The gearhorn developers"
release = version = importlib.metadata.version("gearhorn")

extensions = ["oslo_config.sphinxext"]

html_theme = "alabaster"
html_theme_options = {
    "description": "Fan-out for Gearman",
    "fixed_sidebar": True,
    "page_width": "1100px",
}
# Without "view source", and without what an extra package would bring.
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}

highlight_language = "none"
nitpicky = True
