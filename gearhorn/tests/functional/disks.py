# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Small disks that fill up and become read-only, where the user may mount some."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_PLACES = "/usr/bin:/bin:/usr/sbin:/sbin"


class Disk:
    """A disk of a megabyte, mounted on a directory."""

    def __init__(self, directory: Path, mount: str) -> None:
        self._directory = directory
        self._mount = mount
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Leave no room on it."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def empty(self) -> None:
        """Have room again."""
        self._filler.unlink()

    def forbid(self) -> None:
        """Let nobody change anything, as an operator or the kernel does after errors.

        Some process may still have a file open to write: it keeps it.
        """
        self._remount("ro")

    def allow(self) -> None:
        """Take changes again."""
        self._remount("rw")

    def _remount(self, mode: str) -> None:
        command = [self._mount, "-o", f"remount,{mode}", str(self._directory)]
        subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def disk_of(directory: Path) -> Iterator[Disk]:
    """A small disk on ``directory``; the test is skipped where it cannot be mounted."""
    mount = shutil.which("mount", path=_PLACES)
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    options = ("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory))
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield Disk(directory, mount)
    finally:
        umount = shutil.which("umount", path=_PLACES) or "umount"
        subprocess.run([umount, "--lazy", str(directory)], check=True)
