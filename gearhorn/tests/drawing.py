# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Drawings in SVG, which take the colours of the page that they stand in.

The benchmarks draw their results with it, and the soak its samples. Lines are named at their ends
rather than in a legend.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 560
LINES_FROM, LINES_TO = 76, 430
LINES_HEIGHT = 220
_LABEL_STEP = 16

BLUE = "var(--gearhorn-blue, #0b5f8a)"
LIGHT_BLUE = "var(--gearhorn-light-blue, #7fb4d0)"
ORANGE = "var(--gearhorn-orange, #c05b12)"
PAPER = "var(--color-background-primary, #fff)"

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 4")
"""Of lines that have one colour."""
_MANY_POINTS = 20


class Line(NamedTuple):
    label: str
    colour: str
    points: Sequence[tuple[float, float]]


class Canvas:
    """A drawing that grows downwards.

    :param name: a name that no other drawing of the page has.
    :param title: the text for readers who cannot see it.
    """

    def __init__(self, name: str, title: str) -> None:
        self.y = 0.0
        self._name = name
        self._title = title
        self._parts: list[str] = []

    def add(self, element: str) -> None:
        self._parts.append(element)

    def text(self, x: float, y: float, text: str, attributes: str = "") -> None:
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>')

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.add(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>'
        )

    def path(self, path: str, attributes: str) -> None:
        self.add(f'<path d="{path}" fill="none" {attributes}/>')

    def heading(self, text: str) -> None:
        self.text(0, 17, text[:1].upper() + text[1:], 'font-weight="bold" font-size="16"')
        self.y = 22

    def caption(self, text: str) -> None:
        self.y += 20
        self.text(0, self.y, text, 'font-size="14" fill-opacity="0.75"')
        self.y += 8

    def finish(self) -> str:
        """All of it."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gearhorn" '
            f'viewBox="0 0 {WIDTH} {self.y + 6:.0f}" style="max-width: 640px" role="img" '
            f'aria-labelledby="{self._name}-title" font-family="system-ui, sans-serif" '
            f'font-size="14" fill="currentColor">'
        )
        label = f'<title id="{self._name}-title">{escape(self._title)}</title>'
        return "\n".join([head, label, *self._parts, "</svg>"]) + "\n"


class _Axis:
    """A scale from values to places between two ends of the drawing."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, log: bool) -> None:
        numbers = list(values)
        self._log, self._start, self._end = log, start, end
        if log:
            self._low: float = math.floor(math.log10(min(numbers)) + 0.05)
            self._high: float = math.ceil(math.log10(max(numbers)) - 0.05)
            self.ticks = [10.0**power for power in range(int(self._low), int(self._high) + 1)]
        else:
            step = 10.0 ** math.floor(math.log10(max(numbers)))
            steps = (step / 5, step / 2, step, 2 * step)
            step = next(each for each in steps if max(numbers) <= 5.5 * each)
            self._low, self._high = 0, math.ceil(max(numbers) / step) * step
            self.ticks = [step * count for count in range(round(self._high / step) + 1)]

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self._log else value
        share = (at - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def draw_lines(
    canvas: Canvas,
    lines: Sequence[Line],
    label: str,
    *,
    log: bool = False,
    marks: Sequence[float] = (),
    height: float = LINES_HEIGHT,
) -> None:
    """Draw lines over a horizontal axis.

    :param label: what the horizontal axis shows.
    :param log: both axes are logarithmic; else the vertical one begins at zero.
    :param marks: where thin upright lines stand.
    """
    top, bottom = canvas.y + 6, canvas.y + 6 + height
    places = [x for line in lines for x, _ in line.points]
    across = _Axis(places, LINES_FROM, LINES_TO, log=log)
    up = _Axis([y for line in lines for _, y in line.points], bottom, top, log=log)
    for tick in up.ticks:
        y = up(tick)
        canvas.path(
            f"M{LINES_FROM} {y:.1f}H{LINES_TO}", 'stroke="currentColor" stroke-opacity="0.18"'
        )
        canvas.text(LINES_FROM - 6, y + 4.5, f"{tick:,.0f}", 'text-anchor="end" font-size="12.5"')
    few = sorted(set(places))
    for tick in few if len(few) <= 5 and not log else across.ticks:
        attributes = 'text-anchor="middle" font-size="12.5"'
        canvas.text(across(tick), bottom + 17, f"{tick:,.0f}", attributes)
    for mark in marks:
        canvas.path(
            f"M{across(mark):.1f} {top:.1f}V{bottom:.1f}",
            'stroke="currentColor" stroke-opacity="0.12"',
        )
    middle = (LINES_FROM + LINES_TO) / 2
    canvas.text(middle, bottom + 34, label, 'text-anchor="middle" font-size="13"')
    ends = []
    for index, line in enumerate(lines):
        points = [(across(x), up(y)) for x, y in line.points]
        _draw_line(canvas, points, line, sum(each.colour == line.colour for each in lines[:index]))
        ends.append((*points[-1], line.label))
    for x, y, text in _apart(ends, bottom):
        attributes = f'font-size="13" paint-order="stroke" stroke="{PAPER}" stroke-width="3"'
        canvas.text(x + 8, y + 4.5, text, attributes)
    canvas.y = bottom + 40


def _draw_line(
    canvas: Canvas, points: Sequence[tuple[float, float]], line: Line, number: int
) -> None:
    many = len(points) > _MANY_POINTS
    width = 1.5 if many else 3 if line.colour == BLUE else 2
    dash = "" if many else _DASHES[number]
    canvas.path(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points),
        f'stroke="{line.colour}" stroke-width="{width}" stroke-linejoin="round" '
        f'stroke-dasharray="{dash or "none"}"',
    )
    for x, y in points if not many else ():
        canvas.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>')


def _apart(
    ends: Sequence[tuple[float, float, str]], bottom: float
) -> Iterator[tuple[float, float, str]]:
    """Labels at the ends of lines, moved where they would stand on one another."""
    columns: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in sorted(ends, key=lambda end: end[1]):
        columns.setdefault(x, []).append((y, text))
    for x, column in columns.items():
        places: list[float] = []
        for y, _ in column:
            places.append(max(y, places[-1] + _LABEL_STEP) if places else y)
        limit = bottom
        for index in reversed(range(len(places))):
            places[index] = min(places[index], limit)
            limit = places[index] - _LABEL_STEP
        for place, (_, text) in zip(places, column, strict=True):
            yield x, place, text
