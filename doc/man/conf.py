# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The configuration of Sphinx for the man pages: ``sphinx-build -b man doc/man doc/build/man``.

They are made of parts of ``doc/source/reference/cli.rst``, whose links become the titles of pages.
"""

import importlib.metadata
import re
from typing import Any

from docutils import nodes

project = "gearhorn"
author = "The gearhorn developers"
release = version = importlib.metadata.version("gearhorn")
highlight_language = "none"

man_pages = [
    ("gearhorn", "gearhorn", "publish, listen, look and mend from a shell", author, 1),
    ("gearhorn-fanout", "gearhorn-fanout", "the daemon that gives Gearman fan-out", author, 8),
]
man_show_urls = False


def _text(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: Any = None,
    content: Any = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """A link to a page of the documentation, as its title or its name."""
    titled = re.fullmatch(r"(.*?)\s*<.*>", text, re.DOTALL)
    shown = titled[1] if titled else text.rpartition("/")[2].replace("-", " ")
    return [nodes.emphasis(rawtext, shown)], []


def setup(app: Any) -> None:
    for role in ("doc", "ref"):
        app.add_role_to_domain("std", role, _text, override=True)
