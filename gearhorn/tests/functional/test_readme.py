# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session that the README shows, as it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

README = (Path(__file__).parents[3] / "README.rst").read_text(encoding="utf-8")


def awaited(command: str) -> str:
    if command.startswith("python3 subscribe.py"):
        return sessions.until("gearhorn subscribers officememos | grep -q dave")
    return ""


def test_the_session_of_the_readme(
    daemon: NewDaemon, gearmand: Gearmand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon()
    programs = sessions.prepare(README, gearmand, tmp_path, monkeypatch)
    session = sessions.commands(README)
    assert len(session) > 10
    outputs = sessions.run_all(session, tmp_path, programs, awaited)
    for command, output in zip(session, outputs, strict=True):
        assert output == command.output, command.text
