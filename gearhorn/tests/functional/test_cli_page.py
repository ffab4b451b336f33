# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session that the documentation of the command line shows, as it is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[3] / "doc/source/cli.rst"

_CONSOLE = re.compile(r"^\.\. code-block:: console\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_MARK = "--- next command ---"


def session() -> Iterator[tuple[str, str]]:
    """Each command of the console blocks, and the output that is shown below it."""
    for block in _CONSOLE.findall(PAGE.read_text(encoding="utf-8")):
        text = "\n" + re.sub(r"^    ", "", block, flags=re.MULTILINE).strip()
        for part in text.split("\n$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def without_what_varies(output: str) -> str:
    """Worker ids and ages, and the width that they give to a table."""
    output = re.sub(r"\S+-\d+-[0-9a-f]{8}", "WORKER", output)
    output = re.sub(r"\d+ s ago", "AGO", output)
    return re.sub(r" +", " ", output) if "WORKER" in output else output


def test_the_session_is_real(daemon: NewDaemon, gearmand: Gearmand, tmp_path: Path) -> None:
    daemon()
    wrapper = tmp_path / "gearhorn"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gearhorn.cmd.cli "$@"\n')
    wrapper.chmod(0o755)
    commands = list(session())
    assert len(commands) > 10
    # The exit code of each command is there for the next to show.
    script = "".join(
        f"{command}\ncode=$?; echo '{_MARK}'; (exit $code)\n" for command, _ in commands
    )

    done = subprocess.run(
        ["bash", "-c", script],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "GEARHORN_SERVERS": gearmand.address,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )

    outputs = done.stdout.split(f"{_MARK}\n")[:-1]
    assert len(outputs) == len(commands), done.stdout
    for (command, shown), output in zip(commands, outputs, strict=True):
        assert without_what_varies(output.strip("\n")) == without_what_varies(shown), command
