# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One metric, with its values: what is shown to monitoring systems, whatever their format."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from gearhorn.wire.tally import Histogram

Value = int | float | Histogram
Samples = Mapping[tuple[str, ...], Value]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


class Family(NamedTuple):
    """A metric, with its values by those of its labels."""

    name: str
    kind: Kind
    help: str
    samples: Samples
    labels: Sequence[str] = ()


def one(value: Value) -> Samples:
    """Return the samples of a metric without labels."""
    return {(): value}


def by(values: Mapping[str, Value]) -> Samples:
    """Return the samples of a metric with one label."""
    return {(key,): value for key, value in values.items()}


def plain(kind: Kind, *rows: tuple[str, str, Value]) -> Iterator[Family]:
    """Yield metrics of one kind without labels: name, help and value of each."""
    for name, text, value in rows:
        yield Family(name, kind, text, one(value))
