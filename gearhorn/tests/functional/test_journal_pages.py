# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session of the page on journals, as it is shown."""

from __future__ import annotations

import configparser
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "doc/source/howto/journals.rst").read_text("utf-8")


def test_the_session_is_real(
    daemon: NewDaemon, gearmand: Gearmand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"^\.\. code-block:: ini\n\n((?:    .*\n|\n)+)", PAGE, re.MULTILINE)
    shown_options = configparser.ConfigParser()
    shown_options.read_string(textwrap.dedent(block))
    options: dict[str, Any] = {"journal.topics": shown_options["journal"]["topics"]}
    daemon(**options)
    programs = sessions.prepare(PAGE, gearmand, tmp_path, monkeypatch)
    for example in (ROOT / "doc/examples").glob("*.py"):
        (tmp_path / example.name).symlink_to(example)
    shown = sessions.commands(PAGE)
    assert len(shown) > 10
    session = [
        command._replace(text=command.text.replace("127.0.0.1:4730", gearmand.address))
        for command in shown
    ]

    def awaited(command: str) -> str:
        if not command.startswith("python3"):
            return ""
        return sessions.until(f"grep -q '{'night' if '>>' in command else 'runs'}' erin.txt")

    outputs = sessions.run_all(session, tmp_path, programs, awaited)

    assert list(outputs) == [command.output for command in shown]
