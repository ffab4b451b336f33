# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout --standalone`` for users without a home directory, as in containers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.programs import patched
from gearhorn.tests.functional.standalone import Standalone

UNKNOWN_USER = """
import pwd


def unknown(*args):
    raise KeyError("uid not found")


pwd.getpwuid = pwd.getpwnam = unknown
"""


class Homeless(Standalone):
    """Run by a user who is in no list of users, with what else the environment says."""

    def __init__(self, tmp_path: Path, environment: Mapping[str, str], **options: object) -> None:
        super().__init__(tmp_path, gearmand=True, tool=False, **options)
        self.temporary = tmp_path / "tmp"
        self.temporary.mkdir(exist_ok=True)
        (tmp_path / "patch").mkdir(exist_ok=True)
        self.changed_environment = {
            **patched(tmp_path / "patch", UNKNOWN_USER),
            "TMPDIR": str(self.temporary),
            **environment,
        }
        self.own = self.temporary / f"gearhorn-{os.getuid()}"

    def environment(self) -> Mapping[str, str]:
        kept = {
            name: value
            for name, value in super().environment().items()
            if name not in ("HOME", "XDG_STATE_HOME")
        }
        return {**kept, **self.changed_environment}

    def refused(self) -> str:
        """Start it in vain, and return the one line that it says."""
        assert self.ended_with() == 78
        (line,) = self.log.splitlines()
        assert line.startswith("gearhorn-fanout: ")
        assert "bug" not in line
        return line


def reached(server: Homeless) -> int:
    with server.peer() as client:
        report = client.submit("fanout", message("memos", background=True)).report
    return int(report["queued"])


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "here"}, {"XDG_STATE_HOME": "here"}])
def test_without_a_home_it_keeps_its_store_in_a_directory_of_its_own(
    tmp_path: Path, start: Start, home: dict[str, str]
) -> None:
    server = start(Homeless(tmp_path, home))
    with server.peer() as client:
        assert client.submit("subscribe_fanout", subscription("memos", "bob")).completed
    assert f"Subscriptions are kept in {server.own}." in server.log
    assert server.own.stat().st_mode & 0o777 == 0o700
    assert not (server.directory / "here").exists()
    if not home:
        assert server.stop() == 0
        server.start()
        assert reached(server) == 1


def test_what_is_configured_needs_no_home(tmp_path: Path, start: Start) -> None:
    server = start(Homeless(tmp_path, {}, directory=tmp_path / "configured"))
    assert reached(server) == 0
    assert (tmp_path / "configured").is_dir()
    assert not server.own.exists()


@pytest.mark.parametrize("name", ["HOME", "XDG_STATE_HOME"])
@pytest.mark.parametrize("place", ["/dev/null", "/proc/nobody"])
def test_a_home_that_cannot_be_written_is_said_in_a_line(
    tmp_path: Path, name: str, place: str
) -> None:
    with_it = Homeless(tmp_path, {name: place})
    try:
        line = with_it.refused()
    finally:
        with_it.close()
    assert "[standalone] directory: " in line
    assert f"{place}/" in line
    assert "cannot be used" in line


@pytest.mark.parametrize("directory", ["~/gearhorn", "~nobody-of-that-name/gearhorn"])
def test_a_configured_home_that_is_not_there_is_said_in_a_line(
    tmp_path: Path, directory: str
) -> None:
    server = Homeless(tmp_path, {}, directory=directory)
    try:
        assert f"{directory} names a home directory that does not exist" in server.refused()
    finally:
        server.close()


@pytest.mark.parametrize("what", ["a link", "a file"])
def test_what_another_user_may_have_put_there_is_not_used(tmp_path: Path, what: str) -> None:
    server = Homeless(tmp_path, {})
    trap = tmp_path / "trap"
    trap.mkdir()
    if what == "a link":
        server.own.symlink_to(trap)
    else:
        server.own.write_text("")
    try:
        assert f"{server.own} cannot be used" in server.refused()
    finally:
        server.close()
    assert [*trap.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another's directory")
def test_a_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    server = Homeless(tmp_path, {})
    server.own.mkdir()
    os.chown(server.own, 1234, 1234)
    try:
        assert "it is somebody else's" in server.refused()
    finally:
        server.close()
