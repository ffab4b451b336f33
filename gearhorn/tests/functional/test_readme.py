# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session that the README shows, as it is shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

README = Path(__file__).parents[3] / "README.rst"

_CONSOLE = re.compile(r"^\.\. code-block:: console\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_FILE = re.compile(r"``(\w+\.py)``::\n\n((?:    .*\n|\n)+)")
_MARK = "--- next command ---"


class Command(NamedTuple):
    """What is typed, and the output that is shown below it."""

    text: str
    output: str


def session() -> Iterator[Command]:
    """The commands of the README's console blocks, in order."""
    text: list[str] = []
    output: list[str] = []
    for block in _CONSOLE.findall(README.read_text(encoding="utf-8")):
        for line in re.sub(r"^    ", "", block, flags=re.MULTILINE).strip().splitlines():
            if line.startswith("$ "):
                if text:
                    yield Command("\n".join(text), "\n".join(output))
                text, output = [line[2:]], []
            elif line.startswith("> "):
                text.append(line[2:])
            else:
                output.append(line)
    yield Command("\n".join(text), "\n".join(output))


def write_files(directory: Path, server: str) -> None:
    """Write the files that the README shows, for the test's job server."""
    for name, block in _FILE.findall(README.read_text(encoding="utf-8")):
        text = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        (directory / name).write_text(text.replace("127.0.0.1:4730", server))


def awaited(command: str) -> str:
    """What to type behind a command, so that what it starts is there for the next one."""
    if command.startswith("python3 subscribe.py"):
        there = "gearhorn subscribers officememos | grep -q dave"
        return f"for try in $(seq 100); do {there} && break; sleep 0.05; done\n"
    return ""


@pytest.fixture
def gearman_tool(gearmand: Gearmand, tmp_path: Path) -> Path:
    """A directory for PATH, where ``gearman`` asks the test's job server."""
    directory = tmp_path / "bin"
    directory.mkdir()
    wrapper = directory / "gearman"
    wrapper.write_text(
        f'#!/bin/sh\nPATH="${{PATH#*:}}" exec gearman -h {gearmand.host} -p {gearmand.port} "$@"\n'
    )
    wrapper.chmod(0o755)
    return directory


def run_all(commands: Sequence[Command], directory: Path, path: Path) -> Sequence[str]:
    """Run the commands in one shell; return the output of each."""
    script = directory / "session.sh"
    # The status is set again for a command that shows it.
    script.write_text(
        f"PATH={path}:{Path(sys.executable).parent}:$PATH\nset_status() {{ return $1; }}\n"
        + "".join(
            f"set_status ${{status:-0}}\n{command.text}\nstatus=$?\n"
            f"{awaited(command.text)}printf '\\n{_MARK}\\n'\n"
            for command in commands
        )
    )
    shell = subprocess.Popen(
        ["bash", str(script)],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None
    with shell.stdout:
        output = ""
        try:
            # Not to its end: the workers that it started go on, and have it open.
            while output.count(_MARK) < len(commands) and (line := shell.stdout.readline()):
                output += line
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    return [part.strip() for part in output.split(_MARK)[:-1]]


def test_the_session_of_the_readme(
    daemon: NewDaemon,
    gearmand: Gearmand,
    gearman_tool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon()
    write_files(tmp_path, gearmand.address)
    monkeypatch.setenv("GEARHORN_SERVERS", gearmand.address)
    commands = list(session())
    assert len(commands) > 10
    outputs = run_all(commands, tmp_path, gearman_tool)
    for command, output in zip(commands, outputs, strict=True):
        assert output == command.output.strip(), command.text
