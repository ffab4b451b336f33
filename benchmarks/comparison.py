# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What has become slower since a stored run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import OWN_NAME, Case, Row

SLOWER = 0.9
"""A row is told of if its speed is below this share of the stored one."""

# Of these, less is better. A rate is so many a second; what is neither is no speed.
_COSTS = frozenset({"s", "ms", "µs/fan-out", "MiB", "bytes", "payloads"})


def slower(now: Mapping[Case, Sequence[Row]], stored: Mapping[Case, Sequence[Row]]) -> list[str]:
    """Return a line for each row of gearhorn's own that became slower than `SLOWER` allows.

    A row with a reference is compared by their ratio, which the machine hardly changes. One
    without has only its figure, which says little on another machine.
    """
    known = {key: row for case, rows in stored.items() for key, row in _by_key(case, rows)}
    lines = []
    for case, rows in now.items():
        for key, row in _by_key(case, rows):
            if key in known and (share := _share(row, known[key])) < SLOWER:
                beside = f" beside {row.reference_name}" if row.references else ""
                lines.append(f"{case.name}: {row.what}{beside}: {share:.2f} of the stored speed")
    return lines


def _by_key(case: Case, rows: Sequence[Row]) -> Iterator[tuple[tuple[object, ...], Row]]:
    for row in rows:
        if row.name == OWN_NAME and (row.unit in _COSTS or row.unit.endswith("/s")):
            reference = row.reference_name if row.references else None
            yield (case.name, row.what, row.unit, reference, row.series, row.at), row


def _share(now: Row, stored: Row) -> float:
    before, after = (row.ratio if row.references else row.figure for row in (stored, now))
    if now.unit in _COSTS:
        before, after = after, before
    return after / before if before else 1.0
