# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Sessions that pages show, typed into a shell as they are shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from gearhorn.tests.servers import Gearmand

_CONSOLE = re.compile(r"^\.\. code-block:: console\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_FILE = re.compile(
    r"``(\w+\.py)``::?\n\n(?:\.\. code-block:: python\n\n)?((?:    .*\n|\n)+)", re.MULTILINE
)
_SHOWN_ADDRESS = "127.0.0.1:4730"
_MARK = "--- next command ---"


class Command(NamedTuple):
    """A command that is typed, and the output that is shown below it."""

    text: str
    output: str


def commands(page: str) -> Sequence[Command]:
    """The commands of the page's console blocks, in order."""
    found = []
    for block in _CONSOLE.findall(page):
        text = "\n" + _unindented(block).strip()
        for part in text.split("\n$ ")[1:]:
            first, *more = part.split("\n")
            lines = [first]
            while more and more[0].startswith("> "):
                lines.append(more.pop(0)[2:])
            found.append(Command("\n".join(lines), "\n".join(more).strip()))
    return found


def write_files(page: str, directory: Path, server: str) -> None:
    """Write the programs that the page shows, for the test's job server."""
    for name, block in _FILE.findall(page):
        (directory / name).write_text(_unindented(block).replace(_SHOWN_ADDRESS, server))


def prepare(
    page: str, gearmand: Gearmand, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Have all that the page's commands need, and return the directory of its programs."""
    programs = directory / "bin"
    programs.mkdir()
    gearman_tool(gearmand, programs)
    write_files(page, directory, gearmand.address)
    monkeypatch.setenv("GEARHORN_SERVERS", gearmand.address)
    return programs


def gearman_tool(gearmand: Gearmand, directory: Path) -> None:
    """Make a ``gearman`` in the directory that asks the test's job server."""
    wrapper = directory / "gearman"
    wrapper.write_text(
        f'#!/bin/sh\nPATH="${{PATH#*:}}" exec gearman -h {gearmand.host} -p {gearmand.port} "$@"\n'
    )
    wrapper.chmod(0o755)


def run_all(
    session: Sequence[Command], directory: Path, path: Path, awaited: Callable[[str], str]
) -> Sequence[str]:
    """Type the commands into one shell; return the output of each.

    :param path: a directory to look into first for programs.
    :param awaited: what to type behind a command, so that what it starts is there for the next.
    """
    script = directory / "session.sh"
    # The status is set again for a command that shows it.
    script.write_text(
        f"PATH={path}:{Path(sys.executable).parent}:$PATH\nset_status() {{ return $1; }}\n"
        + "".join(
            f"set_status ${{status:-0}}\n{command.text}\nstatus=$?\n"
            f"{awaited(command.text)}printf '\\n{_MARK}\\n'\n"
            for command in session
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
            while output.count(_MARK) < len(session) and (line := shell.stdout.readline()):
                output += line
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    return [part.strip() for part in output.split(_MARK)[:-1]]


def until(condition: str) -> str:
    """Shell code that waits until the condition holds, for half a minute at most."""
    return f"for try in $(seq 600); do {condition} && break; sleep 0.05; done\n"


def _unindented(block: str) -> str:
    return re.sub(r"^    ", "", block, flags=re.MULTILINE)
