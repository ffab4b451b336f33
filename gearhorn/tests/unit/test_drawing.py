# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Drawings are SVG that a browser reads, and say what their lines are."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gearhorn.tests.drawing import BLUE, ORANGE, Canvas, Line, draw_lines
from gearhorn.tests.ledger.plot import draw
from gearhorn.tests.ledger.usage import Usage

pytestmark = pytest.mark.once


def texts(svg: str) -> list[tuple[str, float]]:
    """Return each text, and its distance from the top."""
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [(element.text or "", float(element.attrib["y"])) for element in found]


def test_lines_are_named_at_their_ends_and_apart_from_one_another() -> None:
    canvas = Canvas("lines", "Lines <that> meet")
    ends = {"one": 100.0, "two": 101.0, "three": 99.0, "four": 10.0}
    lines = [
        Line(name, BLUE if name == "one" else ORANGE, [(1, 50), (10, 60), (1000, end)])
        for name, end in ends.items()
    ]
    draw_lines(canvas, lines, "of something", log=True)

    written = texts(canvas.finish())
    at = {text: y for text, y in written if text in ends}
    assert at.keys() == ends.keys()
    order = sorted(at, key=lambda name: at[name])
    assert order == ["two", "one", "three", "four"]
    heights = [at[name] for name in order]
    assert all(below - above >= 15.9 for above, below in itertools.pairwise(heights))
    # The axes.
    assert {"of something", "1", "1,000", "10", "100"} <= {text for text, _ in written}


def test_an_axis_that_is_not_logarithmic_begins_at_zero() -> None:
    canvas = Canvas("line", "A line")
    draw_lines(canvas, [Line("flat", BLUE, [(0, 53.2), (9, 53.9)])], "minutes")
    assert {"0", "20", "40", "60"} <= {text for text, _ in texts(canvas.finish())}


def test_a_soak_is_drawn(tmp_path: Path) -> None:
    samples = [
        Usage(at, who, 50_000 + index, 9, 1, 40 if who == "redis" else 0)
        for at in (0.0, 5.0, 10.0)
        for index, who in enumerate(
            ["daemon-0", "daemon-1", "publisher-0", "subscriber-0", "redis"]
        )
    ]
    draw(samples, [5.0], tmp_path / "soak.svg")
    written = [text for text, _ in texts((tmp_path / "soak.svg").read_text("utf-8"))]
    for name in ("daemons", "publishers", "subscribers"):
        assert written.count(name) == 2
    assert written.count("Redis") == 1
