# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The drawings of the results.

Bars begin at zero and have their values beside them; one that would leave the others too short to
compare is cut, and says so. Lines are named at their ends, at most five in a panel. Contenders have
one colour where each copy is acknowledged, and another where nothing is.
"""

from __future__ import annotations

import itertools
import pathlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks import contenders
from benchmarks.figures import OWN_NAME, Case, Row
from gearhorn.tests.drawing import BLUE, LIGHT_BLUE, ORANGE, PAPER, Canvas, Line, draw_lines

_BARS_FROM, _BARS_TO = 142, 462
_BAR_HEIGHT, _BAR_STEP = 14, 21
_MOST_LINES = 5
_CUT_ABOVE = 4.0
"""A bar is cut that is so many times as long as the next."""
_TOO_SHORT = 12.0
"""Groups of bars have a scale each where one would be so many times shorter than another."""

_LEGEND = {
    BLUE: "gearhorn",
    LIGHT_BLUE: "others, each copy acknowledged",
    ORANGE: "others, nothing acknowledged",
}
_UNITS = {
    "deliver./s": "deliveries a second",
    "copies/s": "copies a second",
    "fanouts/s": "fan-outs a second",
    "messages/s": "messages a second",
    "registr./s": "registrations a second",
    "ms": "milliseconds",
    "MB/s": "megabytes a second",
}
_PANELS = {
    "each copy acknowledged": ("RabbitMQ", "JetStream", "Streams-each", "Streams-batched"),
    "the limit, and what acknowledges nothing": ("bare sockets", "NATS core", "Redis Pub/Sub"),
}
"""The contenders that are drawn as lines, beside gearhorn."""

_Lines = Mapping[tuple[str, str], Mapping[float, float]]
"""The points of each line, by its name and its series."""


class Bar(NamedTuple):
    label: str
    colour: str
    lowest: float
    median: float
    highest: float


def draw(results: Mapping[Case, Sequence[Row]], place: pathlib.Path) -> None:
    """Write a file for each case."""
    place.mkdir(parents=True, exist_ok=True)
    for case, rows in results.items():
        (place / f"{case.name}.svg").write_text(drawing(case, rows), encoding="utf-8")


def drawing(case: Case, rows: Sequence[Row]) -> str:
    """Return the drawing of a case: lines if its rows have a place on one, else bars."""
    canvas = Canvas(f"plot-{case.name}", f"{case.name}: {case.what}")
    canvas.heading(case.what)
    colours: set[str] = set()
    drawn = [row for row in rows if case.is_drawn(row)]
    for unit, of_unit in _grouped(drawn, lambda row: row.unit):
        if all(row.at is not None for row in of_unit):
            for title, lines in _panels(of_unit):
                canvas.caption(f"{_UNITS.get(unit, unit)}{title and ': '}{title}")
                log = max(row.at or 0 for row in of_unit) >= 100
                draw_lines(canvas, lines, case.curve, log=log)
                colours |= {line.colour for line in lines}
        else:
            groups = {
                what: _bars(of_one) for what, of_one in _grouped(of_unit, lambda row: row.what)
            }
            _draw_groups(canvas, _UNITS.get(unit, unit), groups)
            colours |= {bar.colour for bars in groups.values() for bar in bars}
    _draw_legend(canvas, colours)
    return canvas.finish()


def _grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield groups in the order of their first rows, whatever comes between the others."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return iter(groups.items())


def _colour(name: str) -> str:
    if name == OWN_NAME or name.startswith(f"{OWN_NAME} "):
        return BLUE
    return ORANGE if name in contenders.UNACKNOWLEDGED else LIGHT_BLUE


def _bars(rows: Sequence[Row]) -> Sequence[Bar]:
    """Return a bar for each contender of the rows."""
    bars: dict[str, Bar] = {}
    for row in rows:
        for name, figures in ((row.name, row.figures), (row.reference_name, row.references)):
            if figures:
                lowest, highest = min(figures), max(figures)
                bars[name] = Bar(name, _colour(name), lowest, statistics.median(figures), highest)
    return list(bars.values())


def _draw_groups(canvas: Canvas, unit: str, groups: Mapping[str, Sequence[Bar]]) -> None:
    lengths = [_longest([bar.highest for bar in bars]) for bars in groups.values()]
    own_scales = max(lengths) > _TOO_SHORT * min(lengths)
    canvas.caption(
        f"{unit}: median and range" + ("; each group on its own scale" if own_scales else "")
    )
    for (what, bars), length in zip(groups.items(), lengths, strict=True):
        if len(groups) > 1:
            canvas.caption(what)
        _draw_bars(canvas, bars, length if own_scales else max(lengths))


def _longest(values: Sequence[float]) -> float:
    """Return the length of the longest bar that is not cut."""
    ordered = sorted(values, reverse=True)
    for value, following in itertools.pairwise(ordered):
        if value <= _CUT_ABOVE * following:
            return value
    return ordered[0]


def _draw_bars(canvas: Canvas, bars: Sequence[Bar], longest: float) -> None:
    scale = (_BARS_TO - _BARS_FROM) / longest
    for bar in bars:
        y, is_cut = canvas.y, bar.highest > longest
        length = max(1.0, min(bar.median, longest) * scale)
        end = _BARS_FROM + length
        weight = "bold" if bar.label == OWN_NAME else "normal"
        canvas.text(_BARS_FROM - 8, y + 12, bar.label, f'text-anchor="end" font-weight="{weight}"')
        canvas.rectangle(_BARS_FROM, y, length, _BAR_HEIGHT, bar.colour)
        if is_cut:
            for x in (end - 26, end - 18):
                gap = f'stroke="{PAPER}" stroke-width="4"'
                canvas.path(f"M{x:.1f} {y - 2:.1f}l6 {_BAR_HEIGHT + 4}", gap)
        elif bar.lowest < bar.highest:
            start, stop = (_BARS_FROM + value * scale for value in (bar.lowest, bar.highest))
            canvas.path(
                f"M{start:.1f} {y + _BAR_HEIGHT / 2:.1f}H{stop:.1f}",
                'stroke="currentColor" stroke-opacity="0.7" stroke-width="1.5"',
            )
            end = max(end, stop)
        canvas.text(end + 6, y + 12, number(bar.median) + (", cut" if is_cut else ""))
        canvas.y += _BAR_STEP
    canvas.y += 2


def _panels(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Line]]]:
    """Yield the title and the lines of each panel."""
    lines: dict[tuple[str, str], dict[float, float]] = {}
    for row in rows:
        for name, figures in ((row.name, row.figures), (row.reference_name, row.references)):
            if figures and row.at is not None:
                lines.setdefault((name, row.series), {})[row.at] = statistics.median(figures)
    if any(row.series for row in rows):
        yield from _panels_of_series(lines)
        return
    for title, names in _PANELS.items():
        chosen = [name for name in (OWN_NAME, *names) if (name, "") in lines]
        yield title, [Line(name, _colour(name), [*lines[name, ""].items()]) for name in chosen]


def _panels_of_series(lines: _Lines) -> Iterator[tuple[str, Sequence[Line]]]:
    """Yield one panel, or one for each beginning of a series if lines are too many."""
    whole = len(lines) <= _MOST_LINES
    panels: dict[str, list[Line]] = {}
    for (name, series), points in lines.items():
        panel, _, rest = ("", "", series) if whole else series.partition(", ")
        only = {each for each, _ in lines} == {name}
        label = rest if only else ", ".join(filter(None, (name, rest)))
        panels.setdefault(panel, []).append(Line(label, _colour(name), [*points.items()]))
    return iter(panels.items())


def _draw_legend(canvas: Canvas, colours: set[str]) -> None:
    """Draw what the colours mean, if there are several."""
    if len(colours) < 2:
        return
    x, canvas.y = 0.0, canvas.y + 10
    for colour, text in _LEGEND.items():
        if colour in colours:
            canvas.rectangle(x, canvas.y, 12, 12, colour)
            canvas.text(x + 17, canvas.y + 11, text, 'font-size="13"')
            x += 36 + 6.8 * len(text)
    canvas.y += 14


def number(value: float) -> str:
    """Return a number as the tables show it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
