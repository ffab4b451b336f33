# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon's wall clock, set by a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DAY_S = 86_400.0

# Python runs it at the start of a process.
_STEPPED = """
import importlib, os, time

def stepped(read, per_second=1):
    def now(*args):
        with open(os.environ["CLOCK_STEP"]) as file:
            return read(*args) + int(file.read()) * per_second
    return now

time.time = stepped(time.time)
time.time_ns = stepped(time.time_ns, 10**9)
_clock_gettime = time.clock_gettime
_stepped_gettime = stepped(_clock_gettime)
time.clock_gettime = lambda which: (
    _stepped_gettime(which) if which == time.CLOCK_REALTIME else _clock_gettime(which)
)
"""

_CONSTANT = "setattr(importlib.import_module({0!r}), {1!r}, {2!r})\n"


class Step:
    """A step of a daemon's wall clock away from the machine's.

    :param constants: other values for constants of modules, as for a daemon that is forked.
    """

    def __init__(self, directory: Path, constants: Mapping[str, float] | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self._file = directory / "step"
        lines = [
            _CONSTANT.format(module, name, value)
            for (module, _, name), value in (
                (full.rpartition("."), value) for full, value in (constants or {}).items()
            )
        ]
        (directory / "sitecustomize.py").write_text(_STEPPED + "".join(lines))
        self.environment = {"PYTHONPATH": str(directory), "CLOCK_STEP": str(self._file)}
        self.to(0)

    def to(self, seconds: float) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(int(seconds)))
        fresh.replace(self._file)
