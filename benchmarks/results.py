"""What a case measured, and whether it is good enough."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Target:
    text: str
    is_met: Callable[[float, float], bool]
    """Takes the figure and its ratio to the reference."""


def ratio_at_least(bound: float) -> Target:
    return Target(f"ratio >= {bound}", lambda figure, ratio: ratio >= bound)


def ratio_at_most(bound: float) -> Target:
    return Target(f"ratio <= {bound}", lambda figure, ratio: ratio <= bound)


def figure_at_most(bound: float) -> Target:
    return Target(f"<= {bound:g}", lambda figure, ratio: figure <= bound)


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure beside its reference, each measured once or several times in one run."""

    what: str
    unit: str
    figures: Sequence[float]
    references: Sequence[float]
    target: Target

    @property
    def figure(self) -> float:
        return statistics.median(self.figures)

    @property
    def reference(self) -> float:
        return statistics.median(self.references)

    @property
    def ratio(self) -> float:
        return self.figure / self.reference

    @property
    def target_met(self) -> bool:
        return self.target.is_met(self.figure, self.ratio)


@dataclasses.dataclass(frozen=True)
class Case:
    """`run` takes the number of repetitions and returns what was measured."""

    name: str
    what: str
    repetitions: int
    run: Callable[[int], list[Row]]


def alternate(
    repetitions: int, measured: Callable[[], float], reference: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Measure both in turn, so that a machine that slows down slows both."""
    pairs = [(measured(), reference()) for _ in range(repetitions)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
