# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""SQLite stores that cannot be written: what heals is waited for, what does not ends with 78."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.disks import Disk, disk_of
from gearhorn.tests.functional.fleet import SHORT, Fleet
from gearhorn.tests.processes import eventually

WAITS = "The store takes no changes; jobs wait until it does"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    directory = tmp_path / "disk"
    directory.mkdir()
    with disk_of(directory) as disk:
        yield disk


def url(directory: Path, name: str = "store.db") -> str:
    return f"sqlite://{directory}/{name}"


# What heals.

Change = Callable[[Disk], None]


@pytest.mark.parametrize("there", ["with a store", "without a file", "without a directory"])
@pytest.mark.parametrize(
    ("harm", "heal"),
    [(Disk.forbid, Disk.allow), (Disk.fill, Disk.empty)],
    ids=["read-only", "full"],
)
def test_a_daemon_that_starts_waits_until_the_disk_can_be_written(
    fleet: Fleet, small: Disk, tmp_path: Path, harm: Change, heal: Change, there: str
) -> None:
    name = "new/store.db" if there == "without a directory" else "store.db"
    options: dict[str, Any] = {**SHORT, "store_url": url(tmp_path / "disk", name)}
    expected = 0
    if there == "with a store":
        first = fleet.add("first", **options)
        first.register(fleet.topic, "bob")
        assert first.daemon.stop() == 0
        expected = 1

    harm(small)
    # It does not wait to be ready, as it waits for the store.
    one = fleet.add("one", wait_ready=False, **options)
    one.until_it_says(WAITS)
    assert one.daemon.exit_code is None
    assert not one.said("is ready")

    heal(small)
    one.daemon.wait_ready()
    one.until_it_says("The store is back after")
    assert one.reached(fleet.topic) == expected
    one.register(fleet.topic, "alice")
    assert one.reached(fleet.topic) == expected + 1


def test_a_daemon_that_waits_for_the_disk_can_be_stopped(
    daemon: NewDaemon, small: Disk, tmp_path: Path
) -> None:
    small.forbid()
    process = daemon(store_url=url(tmp_path / "disk"), wait_ready=False)
    eventually(lambda: WAITS in process.log)
    assert process.stop() == 0


# What does not.


def ended(process: Daemon) -> str:
    """The line that it ends with, by 78."""
    assert process.wait() == 78
    # A user who may write nowhere cannot note which lines were covered.
    log = process.log.partition("Exception ignored in atexit callback")[0]
    assert "Traceback" not in log
    line = log.splitlines()[-1]
    assert line.startswith("gearhorn-fanout: [store] ")
    return line


@pytest.mark.parametrize("mode", ["no directory can be made", "no file can be made", "read only"])
def test_permissions_that_are_missing_end_it(daemon: NewDaemon, tmp_path: Path, mode: str) -> None:
    directory = tmp_path / "store"
    directory.mkdir()
    options: dict[str, Any] = {}
    if mode == "read only":
        first = daemon(store_url=url(directory))
        assert first.stop() == 0
        for file in directory.iterdir():
            file.chmod(0o444)
    directory.chmod(0o555)
    if os.geteuid() == 0:
        # root itself may do everything.
        options["service.user"] = "nobody"
        for above in [tmp_path, *tmp_path.parents][:3]:
            above.chmod(above.stat().st_mode | 0o055)
    name = "new/store.db" if mode.startswith("no directory") else "store.db"
    process = daemon(store_url=url(directory, name), wait_ready=False, **options)
    line = ended(process)
    assert str(directory) in line
    directory.chmod(0o755)


def test_a_path_that_leads_through_a_file_ends_it(daemon: NewDaemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = daemon(store_url=url(tmp_path / "file"), wait_ready=False)
    assert f"{tmp_path}/file/store.db" in ended(process)
