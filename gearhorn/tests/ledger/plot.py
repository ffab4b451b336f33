# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The samples of a soak as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gearhorn.tests.drawing import BLUE, LIGHT_BLUE, ORANGE, Canvas, Line, draw_lines
from gearhorn.tests.ledger import usage
from gearhorn.tests.ledger.usage import Usage

_KINDS = {"daemon": BLUE, "publisher": LIGHT_BLUE, "subscriber": ORANGE}
_PANELS = (
    ("resident_kib", "MiB resident, the most of each kind", 1024),
    ("files", "descriptors", 1),
)
_HEIGHT = 130


def draw(samples: Sequence[Usage], resets: Sequence[float], path: Path) -> None:
    """Memory and descriptors of each kind of process, and what is in Redis, over the minutes."""
    minutes = [at / 60 for at in resets]
    canvas = Canvas("plot-soak", "What each kind of process uses, and what is in Redis")
    canvas.heading("what is used, over the minutes of a soak")
    for quantity, label, unit in _PANELS:
        canvas.caption(label)
        lines = [
            Line(f"{kind}s", colour, _most(samples, kind, quantity, unit))
            for kind, colour in _KINDS.items()
        ]
        draw_lines(canvas, lines, "minutes", marks=minutes, height=_HEIGHT)
    canvas.caption("keys and members in Redis")
    keys = [Line("Redis", BLUE, _most(samples, "redis", "keys", 1))]
    label = "minutes; the thin lines are resets of all connections"
    draw_lines(canvas, keys, label, marks=minutes, height=_HEIGHT)
    path.write_text(canvas.finish(), encoding="utf-8")


def _most(
    samples: Sequence[Usage], kind: str, quantity: str, unit: int
) -> Sequence[tuple[float, float]]:
    """The highest of all processes of a kind, one after the other as they were looked at."""
    names = [who for who in usage.names(samples) if who.startswith(kind)]
    of_each = [[sample for sample in samples if sample.who == who] for who in names]
    return [
        (group[0].at / 60, max(float(getattr(each, quantity)) / unit for each in group))
        for group in zip(*of_each, strict=False)
    ]
