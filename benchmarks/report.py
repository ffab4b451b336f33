# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The results as tables and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import OWN_NAME, Case, Measured, Row, Spent
from benchmarks.plots import number
from benchmarks.processes import ProcessorTime

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
    whole = {"machine": machine, "quick": quick, "skipped": skipped}
    cases = {
        case.name: (case.what, [_as_dict(row) for row in rows]) for case, rows in results.items()
    }
    return written(whole, cases)


def written(
    whole: Mapping[str, object], cases: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]
) -> str:
    """Return JSON with a row on each line, for people to read and for git to compare."""
    blocks = []
    for name, (what, rows) in cases.items():
        lines = ",\n".join(f"   {json.dumps(row)}" for row in rows)
        blocks.append(
            f'  {json.dumps(name)}: {{"what": {json.dumps(what)}, "rows": [\n{lines}\n  ]}}'
        )
    head = json.dumps(whole, indent=1).removesuffix("\n}")
    return head + ',\n "cases": {\n' + ",\n".join(blocks) + "\n }\n}\n"


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
    return f"{number(1e6 * time.whole)} ({number(1e6 * kernel_s)})"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    median = number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({number(min(values))}-{number(max(values))})"


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
