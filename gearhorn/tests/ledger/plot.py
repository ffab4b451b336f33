# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The samples of a soak as a picture; the only module that needs matplotlib."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gearhorn.tests.ledger import usage
from gearhorn.tests.ledger.usage import Usage

_COLOURS = {"daemon": "tab:blue", "publisher": "tab:green", "subscriber": "tab:orange"}
_PANELS = (("resident_kib", "resident, MiB", 1024), ("files", "descriptors", 1))


def draw(samples: Sequence[Usage], resets: Sequence[float], path: Path) -> None:
    """Memory and descriptors of each process, and what is in Redis, over the minutes."""
    # By name, as it is no requirement of the tests, and so that types are checked without it too.
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(3, sharex=True, figsize=(8, 7), layout="constrained")
    for axis, (quantity, label, unit) in zip(axes, _PANELS, strict=False):
        for who in usage.names(samples):
            kind = who.partition("-")[0]
            if kind in _COLOURS:
                minutes, values = _line(samples, who, quantity)
                label_of = f"{kind}s" if who.endswith("-0") else None
                values = [value / unit for value in values]
                axis.plot(minutes, values, color=_COLOURS[kind], label=label_of, linewidth=1)
        axis.set_ylabel(label)
    axes[0].legend(loc="center right", ncols=3)
    axes[2].plot(*_line(samples, "redis", "keys"), color="tab:red", linewidth=1)
    axes[2].set_ylabel("keys and members in Redis")
    axes[2].set_xlabel("minutes; the lines are resets of all connections")
    for axis in axes:
        axis.set_ylim(bottom=0)
        for at in resets:
            axis.axvline(at / 60, color="lightgrey", linewidth=0.5, zorder=0)
    figure.savefig(path, dpi=100)


def _line(samples: Sequence[Usage], who: str, quantity: str) -> tuple[list[float], list[float]]:
    of_one = [sample for sample in samples if sample.who == who]
    return [s.at / 60 for s in of_one], [float(getattr(s, quantity)) for s in of_one]
