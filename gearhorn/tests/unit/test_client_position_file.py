# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Positions in files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gearhorn import FilePosition, errors
from gearhorn.client.journal import file_position


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name != "lock")


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    with FilePosition(tmp_path / "new" / "folder") as position:
        assert position.read("t", "bob") is None
        for data in (b"one", b"", b"two\n\0"):
            position.write("t", "bob", data)
            assert position.read("t", "bob") == data
        assert position.read("t", "alice") is None
    with FilePosition(tmp_path / "new" / "folder") as position:
        assert position.read("t", "bob") == b"two\n\0"


def test_names_that_files_cannot_have_and_that_differ_in_case_have_files_of_their_own(
    tmp_path: Path,
) -> None:
    names = [("a/b", "c"), ("A/b", "c"), ("a", "b/c"), ("../x", "."), ("t" * 400, "ż")]
    with FilePosition(tmp_path) as position:
        for number, (topic, client_id) in enumerate(names):
            position.write(topic, client_id, b"%d" % number)
        for number, (topic, client_id) in enumerate(names):
            assert position.read(topic, client_id) == b"%d" % number


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    program = (
        "import sys; from gearhorn import FilePosition; "
        "FilePosition(sys.argv[1]).read('t', 'bob'); print('locked', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        position = FilePosition(tmp_path)
        with pytest.raises(errors.PositionInUse, match="another process uses the positions"):
            position.read("t", "bob")
        with pytest.raises(errors.PositionInUse):
            position.write("t", "bob", b"")
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert position.read("t", "bob") is None
        position.close()


def test_a_second_object_of_one_process_is_refused_too(tmp_path: Path) -> None:
    with FilePosition(tmp_path) as position:
        position.write("t", "bob", b"x")
        with pytest.raises(errors.PositionInUse):
            FilePosition(tmp_path).read("t", "bob")
    FilePosition(tmp_path).read("t", "bob")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork of a process that has threads")
def test_a_child_that_was_forked_is_refused_as_any_other_process(tmp_path: Path) -> None:
    with FilePosition(tmp_path) as position:
        position.read("t", "bob")
        child = os.fork()
        if not child:
            try:
                position.read("t", "bob")
            except errors.PositionInUse:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        position.write("t", "bob", b"x")


@pytest.mark.parametrize("damage", [b"", b"\0" * 60, b"gearhorn position 00\nx"])
def test_a_file_that_a_power_cut_damaged_gives_way_to_the_one_that_was_synced(
    tmp_path: Path, damage: bytes
) -> None:
    with FilePosition(tmp_path) as position:
        position.write("t", "bob", b"one")
    newest, synced = files(tmp_path)
    assert synced.name.endswith(".synced")
    newest.write_bytes(damage)
    with FilePosition(tmp_path) as position:
        assert position.read("t", "bob") == b"one"


def test_a_position_that_cannot_be_read_is_an_error_and_no_first_start(tmp_path: Path) -> None:
    with FilePosition(tmp_path) as position:
        position.write("t", "bob", b"one")
    for path in files(tmp_path):
        path.write_bytes(b"one")
    with (
        FilePosition(tmp_path) as position,
        pytest.raises(errors.PositionUnreadable, match="is damaged: restore the file"),
    ):
        position.read("t", "bob")


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.PositionUnreadable):
        FilePosition(tmp_path / "file" / "positions").read("t", "bob")


def test_what_cannot_be_synced_is_an_error_of_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with FilePosition(tmp_path) as position:
        position.write("t", "bob", b"one")
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        position.write("t", "bob", b"two")
    assert "cannot be synced" in caplog.text


def test_a_system_without_flock_is_told_to_bring_a_position_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_position, "fcntl", None)
    with pytest.raises(errors.ConfigurationError, match="bring a position of your own"):
        FilePosition(tmp_path).read("t", "bob")
