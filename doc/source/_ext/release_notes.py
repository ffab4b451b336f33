# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``.. release-notes::``: the notes in ``releasenotes/notes``, the newest release first.

reno asks git which release a note belongs to. Its own directive fails where git cannot tell: in a
shallow clone, and in an unpacked source distribution. There this one shows all notes together.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes, statemachine
from reno.config import Config
from reno.loader import Loader
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

ROOT = Path(__file__).parents[3]

_NO_TAG = "0.0.0"
"""The name that reno gives the release where there is no tag."""
_UNRELEASED = "Unreleased"

Note = Mapping[str, Any]
"""The text of each section of a note: of the prelude a string, of the others a list."""


def releases(conf: Config) -> Sequence[tuple[str, Sequence[Note]]]:
    """The title and the notes of each release."""
    try:
        with Loader(conf) as notes:
            return [
                (
                    _UNRELEASED if version == _NO_TAG or "-" in version else version,
                    [notes.parse_note_file(name, commit) for name, commit in notes[version]],
                )
                for version in notes.versions
            ]
    except Exception:
        # Of git: its classes are dulwich's own, and a missing commit is a KeyError.
        files = sorted(Path(conf.reporoot, conf.notespath).glob("*.yaml"))
        return [(_UNRELEASED, [yaml.safe_load(file.read_text("utf-8")) for file in files])]


def lines(conf: Config, notes: Sequence[Note]) -> Iterator[str]:
    """Return the lines below the title of a release."""
    for note in notes:
        yield from [*note.get(conf.prelude_section_name, "").splitlines(), ""]
    for section in conf.sections:
        items = [item for note in notes for item in note.get(section.name, [])]
        if items:
            yield from [section.title, "." * len(section.title), ""]
        for item in items:
            yield from [*("* " + textwrap.indent(item, "  ").lstrip()).splitlines(), ""]


class ReleaseNotes(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        conf = Config(str(ROOT))
        text = statemachine.StringList()
        for title, notes in releases(conf):
            for line in [title, "-" * len(title), "", *lines(conf, notes)]:
                text.append(line, "releasenotes/notes")
        for file in Path(conf.reporoot, conf.notespath).glob("*.yaml"):
            self.env.note_dependency(str(file))
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, text, section)
        return section.children


def setup(app: Sphinx) -> dict[str, bool]:
    logging.getLogger("reno").setLevel(logging.WARNING)
    app.add_directive("release-notes", ReleaseNotes)
    return {"parallel_read_safe": True}
