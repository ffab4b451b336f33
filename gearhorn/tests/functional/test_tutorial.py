# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session of the tutorial, as it is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/tutorial.rst").read_text(encoding="utf-8")


def without_what_varies(output: str) -> str:
    """Worker ids and ages, and the width that they give to a table."""
    output = re.sub(r"\S+-\d+-[0-9a-f]{8}", "WORKER", output)
    output = re.sub(r"\d+ s ago", "AGO", output)
    return re.sub(r" +", " ", output) if "WORKER" in output else output


def of_this_gearmand(output: str) -> str:
    """The page is written with gearmand 1.1.20."""
    if not Gearmand.takes_turns():
        return output
    output = output.replace("--round-robin keeps a busy function from starving others, ", "")
    return output.replace("--round-robin, ", "")


def awaited(command: str) -> str:
    if command.startswith("python3 subscribe.py"):
        return sessions.until("gearhorn subscribers officememos | grep -q carol")
    return ""


def test_the_session_is_real(
    daemon: NewDaemon, gearmand: Gearmand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon()
    programs = sessions.prepare(PAGE, gearmand, tmp_path, monkeypatch)
    wrapper = programs / "gearhorn"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gearhorn.cmd.cli "$@"\n')
    wrapper.chmod(0o755)
    # The first starts the daemon.
    first, *session = sessions.commands(PAGE)
    assert first.text == "tools/run-standalone"
    assert len(session) > 10

    outputs = sessions.run_all(session, tmp_path, programs, awaited)

    for command, output in zip(session, outputs, strict=True):
        expected = of_this_gearmand(without_what_varies(command.output))
        assert without_what_varies(output) == expected, command.text
