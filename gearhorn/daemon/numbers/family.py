# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One metric, with its values: what is shown to monitoring systems, whatever their format."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from gearhorn import errors
from gearhorn.daemon.metrics import CALL_BOUNDS_S, CallCounts
from gearhorn.wire.tally import Histogram

STORE_CODES = (
    errors.StoreAway.code,
    errors.StoreFull.code,
    errors.StoreMisconfigured.code,
    errors.StoreReplaced.code,
    errors.StoreIncomplete.code,
    errors.StoreError.code,
)

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


def calls(
    names: tuple[str, str], what: str, operations: Sequence[str], counts: CallCounts
) -> Iterator[Family]:
    """Yield the errors of a store's calls, and their times.

    :param names: those of the two metrics.
    :param what: what the calls are of.
    :param operations: those that the daemon may make.
    """
    yield Family(
        names[0],
        "counter",
        f"Calls of {what} that failed.",
        {(code,): counts.errors[code] for code in STORE_CODES},
        ("code",),
    )
    empty = Histogram(CALL_BOUNDS_S)
    yield Family(
        names[1],
        "histogram",
        f"The time of a call of {what}, whatever its end.",
        {(operation,): counts.seconds.get(operation, empty) for operation in operations},
        ("operation",),
    )


def plain(kind: Kind, *rows: tuple[str, str, Value]) -> Iterator[Family]:
    """Yield metrics of one kind without labels: name, help and value of each."""
    for name, text, value in rows:
        yield Family(name, kind, text, one(value))
