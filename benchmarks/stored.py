# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reads the results that a run wrote, for their tables and drawings."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from benchmarks.cases import CASES
from benchmarks.figures import Case, Measured, Row, Spent, Target
from benchmarks.processes import ProcessorTime


def read(path: pathlib.Path) -> dict[Case, list[Row]]:
    """Return the rows of each case."""
    cases = {case.name: case for case in CASES}
    stored = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return {
        dataclasses.replace(cases[name], what=case["what"]): [_row(row) for row in case["rows"]]
        for name, case in stored.items()
    }


def _row(stored: dict[str, Any]) -> Row:
    met = stored["target_met"]
    return Row(
        what=stored["what"],
        unit=stored["unit"],
        figures=_figures(stored["figures"], stored["spent"]),
        references=_figures(stored["references"], stored["reference_spent"]),
        target=stored["target"] and Target(stored["target"], lambda figure, ratio: met),
        name=stored["name"],
        reference_name=stored["reference_name"] or "",
        at=stored["at"],
        series=stored["series"],
        known_ratios=stored["ratios"],
    )


def _figures(figures: Sequence[float], spent: dict[str, Any] | None) -> Sequence[float]:
    """Return the figures, each with the processor time that is stored as the median of all."""
    if spent is None:
        return figures
    by_program = {name: ProcessorTime(**time) for name, time in spent["by_program"].items()}
    of_each = Spent(by_program, spent["elapsed_s"])
    return [Measured(figure, of_each) for figure in figures]
