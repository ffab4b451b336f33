# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The figures that a case measures, and their targets."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from benchmarks.processes import ProcessorTime

OWN_NAME = "gearhorn"

_Figure = TypeVar("_Figure", bound=float)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The extent of a run."""

    repetitions: int
    quick: bool = False
    """True for smaller loads, to show that everything works."""
    contenders: frozenset[str] | None = None
    """The names of the contenders beside which gearhorn is measured; None for all."""

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclasses.dataclass(frozen=True)
class Target:
    text: str
    is_met: Callable[[float, float], bool]
    """Called with the figure and its ratio to the reference."""


def ratio_at_least(bound: float) -> Target:
    return Target(f"ratio >= {bound}", lambda figure, ratio: ratio >= bound)


def ratio_at_most(bound: float) -> Target:
    return Target(f"ratio <= {bound}", lambda figure, ratio: ratio <= bound)


def ratio_above(bound: float) -> Target:
    return Target(f"ratio > {bound}", lambda figure, ratio: ratio > bound)


def figure_at_most(bound: float) -> Target:
    return Target(f"<= {bound:g}", lambda figure, ratio: figure <= bound)


def figure_at_least(bound: float) -> Target:
    return Target(f">= {bound:g}", lambda figure, ratio: figure >= bound)


@dataclasses.dataclass(frozen=True)
class Spent:
    """The time spent on one copy, delivery or whatever is counted."""

    by_program: Mapping[str, ProcessorTime]
    elapsed_s: float

    def processors(self, *programs: str) -> float:
        """Return the number of processors that these programs, or all, kept busy."""
        times = (self.by_program[name] for name in programs or self.by_program)
        return sum(time.whole for time in times) / self.elapsed_s


class Measured(float):
    """A figure that knows the time spent on it."""

    spent: Spent

    def __new__(cls, figure: float, spent: Spent) -> Measured:
        measured = super().__new__(cls, figure)
        measured.spent = spent
        return measured


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure, perhaps beside a reference, each measured once or more in one run.

    Without a target it is only stated.
    """

    what: str
    unit: str
    figures: Sequence[float]
    references: Sequence[float] = ()
    target: Target | None = None
    name: str = OWN_NAME
    reference_name: str = "bare sockets"
    at: float | None = None
    """The place of the row on a curve of its case."""
    series: str = ""
    """The curve of the row, if several in its case have the same name."""
    known_ratios: Sequence[float] = ()
    """The ratios of a stored run, whose figures are not those of its turns."""

    @property
    def figure(self) -> float:
        return statistics.median(self.figures)

    @property
    def reference(self) -> float:
        return statistics.median(self.references)

    @property
    def ratios(self) -> Sequence[float]:
        """The ratio to the reference in each turn."""
        if self.known_ratios or not self.references:
            return self.known_ratios
        return [
            figure / reference
            for figure, reference in zip(self.figures, self.references, strict=True)
        ]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def target_met(self) -> bool:
        if self.target is None:
            return True
        return self.target.is_met(self.figure, self.ratio if self.references else float("nan"))


@dataclasses.dataclass(frozen=True)
class Case:
    """A case to measure. `run` follows a plan and returns the rows."""

    name: str
    what: str
    repetitions: int
    run: Callable[[Plan], list[Row]]
    curve: str = ""
    """The label of the axis for `at`, if the rows have one."""
    is_drawn: Callable[[Row], bool] = lambda row: True
    """Returns true if a row stands in the drawing. All rows stand in the table."""


def percentile_99(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[-1]


def alternate(
    repetitions: int, measured: Callable[[], _Figure], reference: Callable[[], _Figure]
) -> tuple[list[_Figure], list[_Figure]]:
    """Measure both in turn: a machine that slows down slows both."""
    measured_figures, reference_figures = take_turns(repetitions, [measured, reference])
    return measured_figures, reference_figures


def take_turns(
    repetitions: int, measurements: Iterable[Callable[[], _Figure]]
) -> Sequence[list[_Figure]]:
    """Measure all in turn, and return the figures of each."""
    turns = list(measurements)
    rounds = [[measure() for measure in turns] for _ in range(repetitions)]
    return [list(figures) for figures in zip(*rounds, strict=True)]
