# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Marks, and what a machine remembers of its store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.memory import Memory
from gearhorn.messages import FunctionNames, Mark, Marks, is_mark
from gearhorn.wire.address import Address

MARKS = Marks("__matchmaking", "fanout")


@pytest.mark.parametrize("mark", [Mark("1a2b3c4d"), Mark("1a2b3c4d", waits=True)])
def test_a_mark_is_read_as_it_was_written(mark: Mark) -> None:
    function = MARKS.function(mark)
    assert list(MARKS.read([function])) == [(function, mark)]
    assert is_mark(function.removeprefix("__matchmaking_"))


@pytest.mark.parametrize(
    "function",
    [
        "__matchmaking_host-12-1a2b3c4d",
        "__matchmaking_store_1a2b3c4d",
        f"{MARKS.prefix}1a2b3c4",
        f"{MARKS.prefix}1A2B3C4D",
        f"{MARKS.prefix}1a2b3c4d_waiting",
        f"{MARKS.prefix}1a2b3c4d\n",
        f"x{MARKS.prefix}1a2b3c4d",
        "fanout",
    ],
)
def test_nothing_else_is_a_mark(function: str) -> None:
    assert not list(MARKS.read([function]))
    assert not is_mark(function.removeprefix("__matchmaking_"))


def test_another_shop_has_other_marks() -> None:
    mark = Mark("1a2b3c4d")
    for other in (Marks("__matchmaking", "fan_out"), Marks("other", "fanout")):
        assert not list(MARKS.read([other.function(mark)]))
    assert is_mark(Marks("m", "fan_out").function(mark).removeprefix("m_"))


def memory(directory: Path | None, url: str = "redis://h/0", fanout: str = "fanout") -> Memory:
    return Memory(
        DaemonSettings(
            servers=[Address("jobs1", 4730), Address("::1", 4731)],
            store_url=url,
            state_dir=directory,
            functions=FunctionNames(fanout=fanout),
        )
    )


def texts(directory: Path) -> list[str]:
    """What the files hold, which nobody else may read."""
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    return [path.read_text() for path in directory.iterdir()]


async def test_what_is_remembered_is_for_each_job_server_and_shop(tmp_path: Path) -> None:
    await memory(tmp_path).remember(["1a2b3c4d5e6f.1", "00000000"])
    assert (await memory(tmp_path).recall()).tags == {"1a2b3c4d", "00000000"}
    assert (await memory(tmp_path, fanout="a/b").recall()).tags == frozenset()
    await memory(tmp_path, fanout="a/b").remember(["11111111"])
    assert (await memory(tmp_path, fanout="a/b").recall()).tags == {"11111111"}
    assert len(texts(tmp_path)) == 4
    await memory(tmp_path).remember(["22222222"], 17)
    assert (await memory(tmp_path).recall()).number == 17
    assert (await memory(tmp_path).recall()).tags == {"22222222"}
    assert (await memory(None).recall()).tags == frozenset()
    await memory(None).remember(["22222222"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/1?password=secret", "redis://host:6379/1"),
        ("redis+sentinel://:secret@one,two:26379/main", "redis+sentinel://one,two:26379/main"),
        ("sqlite:///var/lib/gearhorn/store.db", "sqlite:///var/lib/gearhorn/store.db"),
    ],
)
async def test_the_url_is_remembered_without_its_password(
    tmp_path: Path, url: str, shown: str
) -> None:
    await memory(tmp_path, url).remember(["1a2b3c4d"])
    for text in texts(tmp_path):
        assert json.loads(text)["store"] == shown
        assert "secret" not in text


async def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await memory(tmp_path).remember(["1a2b3c4d"])

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    same = memory(tmp_path)
    for _ in range(2):
        await same.remember(["00000000"])
    assert caplog.text.count("No space left on device") == 1
    assert (await memory(tmp_path).recall()).tags == {"1a2b3c4d"}
    assert len(texts(tmp_path)) == 2
