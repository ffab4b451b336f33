# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The results as tables, as JSON and as plots."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.processes import ProcessorTime
from benchmarks.results import OWN_NAME, Case, Measured, Row, Spent

_HEADINGS = ("", "", "median (range)", "beside", "median (range)", "ratio (range)", "target")
_ALIGNMENTS = "<<><>><"


def table(rows: Sequence[Row]) -> str:
    """Return one line for each row: medians of all turns, with the lowest and the highest."""
    return _aligned([_HEADINGS, *[_cells(row) for row in rows]], _ALIGNMENTS)


def processor_time(rows: Sequence[Row]) -> str:
    """Return one line for each figure with a spent time; empty if there is none.

    A line has the µs of each program for one, those of them in the kernel, and at the end the
    number of processors that were busy.
    """
    spent: dict[tuple[str, str], Spent] = {}
    for row in rows:
        for name, figures in ((row.name, row.figures), (row.reference_name, row.references)):
            median = _median_spent(figures)
            # Figures that were measured together have one line.
            if median is not None and median not in spent.values():
                spent[row.what, name] = median
    programs = list(dict.fromkeys(name for each in spent.values() for name in each.by_program))
    lines = [("", "", *programs, "processors")]
    for (what, name), each in spent.items():
        times = [each.by_program.get(program) for program in programs]
        cells = ["" if time is None else _microseconds(time) for time in times]
        lines.append((what, name, *cells, f"{each.processors():.2f}"))
    return _aligned(lines, "<<" + ">" * (len(programs) + 1)) if spent else ""


def as_json(results: Mapping[Case, Sequence[Row]], quick: bool, skipped: Mapping[str, str]) -> str:
    machine = {
        "processors": os.cpu_count(),
        "model": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    cases = {
        case.name: {"what": case.what, "rows": [_as_dict(row) for row in rows]}
        for case, rows in results.items()
    }
    whole = {"machine": machine, "quick": quick, "skipped": skipped, "cases": cases}
    return json.dumps(whole, indent=1) + "\n"


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(results: Mapping[Case, Sequence[Row]], place: pathlib.Path) -> None:
    """Draw a PNG for each case: curves if its rows have a place on one, else bars."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    place.mkdir(parents=True, exist_ok=True)
    for case, rows in results.items():
        by_unit: dict[str, list[Row]] = {}
        for row in rows:
            by_unit.setdefault(row.unit, []).append(row)
        heights = [_height(unit_rows) for unit_rows in by_unit.values()]
        figure, grid = pyplot.subplots(
            len(by_unit),
            figsize=(8, 0.3 + sum(heights)),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        for unit_rows, axes in zip(by_unit.values(), grid[:, 0], strict=True):
            if _is_curve(unit_rows):
                _draw_curves(axes, unit_rows, case.curve)
            else:
                _draw_bars(axes, unit_rows)
        figure.suptitle(f"{case.name}: {case.what}", fontsize="medium")
        figure.savefig(place / f"{case.name}.png", dpi=100)
        pyplot.close(figure)


def _is_curve(rows: Sequence[Row]) -> bool:
    return all(row.at is not None for row in rows)


def _height(rows: Sequence[Row]) -> float:
    """Return the height of a plot, in inches."""
    return 4.0 if _is_curve(rows) else 0.7 + 0.2 * len(_bars(rows))


def _draw_curves(axes: Any, rows: Sequence[Row], label: str) -> None:
    curves: dict[str, dict[float, float]] = {}
    for row in rows:
        assert row.at is not None
        for name, value in ((row.name, row.figure), (row.reference_name, _reference(row))):
            if value is not None:
                curve = f"{name}, {row.series}" if row.series else name
                curves.setdefault(curve, {})[row.at] = value
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    if max(row.at or 0 for row in rows) >= 100:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel(rows[0].unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _reference(row: Row) -> float | None:
    return row.reference if row.references else None


def _bars(rows: Sequence[Row]) -> list[tuple[str, float, bool]]:
    """Return the label and the length of each bar, and true for gearhorn's."""
    bars: dict[tuple[str, float, bool], None] = {}
    alike = len({row.what for row in rows}) == 1
    for row in rows:
        suffix = "" if alike else f": {row.what}"
        bars[row.name + suffix, row.figure, True] = None
        if row.references:
            bars[row.reference_name + suffix, row.reference, False] = None
    return list(bars)


def _draw_bars(axes: Any, rows: Sequence[Row]) -> None:
    bars = _bars(rows)
    lengths = [value for _, value, _ in bars]
    axes.barh(
        range(len(bars)),
        lengths,
        color=["tab:blue" if own else "lightsteelblue" for _, _, own in bars],
    )
    axes.set_yticks(
        range(len(bars)), [f"{label} ({_number(value)})" for label, value, _ in bars], fontsize=8
    )
    axes.invert_yaxis()
    if max(lengths) > 100 * min(lengths):
        axes.set_xscale("log")
    axes.set_xlabel(rows[0].unit)


def _cells(row: Row) -> tuple[str, ...]:
    verdict = "stated"
    if row.target is not None:
        verdict = f"{row.target.text} {'met' if row.target_met else 'MISSED'}"
    return (
        row.what if row.name == OWN_NAME else f"{row.name}: {row.what}",
        row.unit,
        _spread(row.figures),
        row.reference_name if row.references else "",
        _spread(row.references),
        _spread(row.ratios),
        verdict,
    )


def _aligned(lines: Sequence[Sequence[str]], alignments: str) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:{alignment}{width}}"
            for cell, alignment, width in zip(line, alignments, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _median_spent(figures: Sequence[float]) -> Spent | None:
    """Return the median of each program's time; None if a figure has none."""
    spent = [figure.spent for figure in figures if isinstance(figure, Measured)]
    if not spent or len(spent) < len(figures):
        return None
    by_program = {}
    for program in spent[0].by_program:
        times = [each.by_program[program] for each in spent]
        by_program[program] = ProcessorTime(
            statistics.median(time.whole for time in times),
            statistics.median(time.kernel for time in times),
        )
    return Spent(by_program, statistics.median(each.elapsed_s for each in spent))


def _microseconds(time: ProcessorTime) -> str:
    # The kernel counts whole ticks, which may be more than the time was.
    kernel_s = min(time.kernel, time.whole)
    return f"{_number(1e6 * time.whole)} ({_number(1e6 * kernel_s)})"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    median = _number(statistics.median(values))
    return (
        median if len(values) == 1 else f"{median} ({_number(min(values))}-{_number(max(values))})"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _as_dict(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "unit": row.unit,
        "name": row.name,
        "figures": list(row.figures),
        "reference_name": row.reference_name if row.references else None,
        "references": list(row.references),
        "ratio": row.ratio if row.references else None,
        "ratios": list(row.ratios),
        "target": row.target.text if row.target else None,
        "target_met": row.target_met if row.target else None,
        "at": row.at,
        "series": row.series,
        "spent": _spent_as_dict(row.figures),
        "reference_spent": _spent_as_dict(row.references),
    }


def _spent_as_dict(figures: Sequence[float]) -> dict[str, Any] | None:
    """Return the seconds spent on one."""
    spent = _median_spent(figures)
    return None if spent is None else dataclasses.asdict(spent)


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()
