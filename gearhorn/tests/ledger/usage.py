# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Samples of what processes and the store use up in a soak."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import redis

from gearhorn.tests.processes import Process, status_of


class Usage(NamedTuple):
    """One sample of one process. For the store, ``files`` and ``threads`` are 0."""

    at: float
    """Seconds since the start."""
    who: str
    resident_kib: int
    files: int
    """Open file descriptors, connections among them."""
    threads: int
    keys: int
    """Redis keys, and what its sets and hashes hold, without records of what ended; 0 for a
    process."""


def of_process(at: float, name: str, process: Process) -> Usage:
    """Return a sample of a process, from the kernel."""
    status = status_of(process.pid)
    return Usage(
        at=at,
        who=name,
        resident_kib=int(status["VmRSS"].split()[0]),
        files=len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
        threads=int(status["Threads"]),
        keys=0,
    )


def of_store(at: float, port: int, key_prefix: str) -> Usage:
    """Return a sample of Redis, from Redis itself."""
    with redis.Redis(port=port, decode_responses=True) as client:
        # The records of ended subscriptions grow by design, up to 100,000.
        keys = [
            key
            for key in cast("list[str]", client.keys(f"{key_prefix}*"))
            if not key.startswith(f"{key_prefix}ended")
        ]
        held = sum(cast(int, _size(client, key)) for key in keys)
        memory = cast("Mapping[str, int]", client.info("memory"))
    return Usage(at, "redis", memory["used_memory"] // 1024, 0, 0, len(keys) + held)


def _size(client: redis.Redis, key: str) -> object:
    kind = cast(str, client.type(key))
    size = {"set": client.scard, "zset": client.zcard, "hash": client.hlen}.get(kind)
    return 0 if size is None else size(key)


def write(samples: Sequence[Usage], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Usage._fields)
        writer.writerows(samples)


class Trend(NamedTuple):
    """One quantity of one process: the medians of two parts of the run, and the peak."""

    first: float
    last: float
    peak: float

    @property
    def growth(self) -> float:
        return self.last - self.first


def trend(samples: Sequence[Usage], who: str, quantity: str) -> Trend:
    """Of the second fifth of a run, as the first is for warming up, and of the last."""
    of_one = [sample for sample in samples if sample.who == who]
    values = [float(getattr(sample, quantity)) for sample in of_one]
    fifth = max(1, len(values) // 5)
    return Trend(
        statistics.median(values[fifth : 2 * fifth] or values),
        statistics.median(values[-fifth:]),
        max(values),
    )


def names(samples: Sequence[Usage]) -> list[str]:
    return sorted({sample.who for sample in samples})


def rows(samples: Sequence[Usage]) -> Iterator[list[str]]:
    """A table: the head, and a row for each process."""
    yield ["process", "resident MiB", "peak", "descriptors", "threads", "keys"]
    for who in names(samples):
        memory = trend(samples, who, "resident_kib")
        yield [
            who,
            f"{memory.first / 1024:.1f} -> {memory.last / 1024:.1f}",
            f"{memory.peak / 1024:.1f}",
            *(
                f"{one.first:g} -> {one.last:g}" if one.peak else ""
                for one in (trend(samples, who, name) for name in ("files", "threads", "keys"))
            ),
        ]


def table(samples: Sequence[Usage]) -> str:
    """The rows as text for people, and for a page of reStructuredText."""
    cells = list(rows(samples))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])
