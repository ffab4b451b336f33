# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The time of one message to its last receipt, on a system that does nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import contenders
from benchmarks.contenders.base import Contender
from benchmarks.delivery import latencies_s
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    Spent,
    percentile_99,
    ratio_at_most,
)
from benchmarks.workload import PAYLOAD

_MESSAGES = 300
_LIMIT_S = 20


def _run(plan: Plan) -> list[Row]:
    return [row for subscribers in (1, 100) for row in _compare(plan, subscribers)]


def _compare(plan: Plan, subscribers: int) -> list[Row]:
    contestants: list[Contender] = [contenders.GEARHORN, contenders.TWO_HOPS]
    contestants += contenders.available(plan.contenders)
    medians_ms: dict[str, list[float]] = {each.name: [] for each in contestants}
    tails_ms: dict[str, list[float]] = {each.name: [] for each in contestants}
    for _ in range(plan.repetitions):
        for each in contestants:
            waits_s, spent = _measure(plan, each, subscribers)
            medians_ms[each.name].append(Measured(1000 * statistics.median(waits_s), spent))
            tails_ms[each.name].append(1000 * percentile_99(waits_s))
    rows = []
    for kind, figures_ms in (("median", medians_ms), ("99%", tails_ms)):
        own, *others = figures_ms.items()
        for name, references_ms in others:
            has_target = kind == "median" and name == contenders.TWO_HOPS.name
            rows.append(
                Row(
                    f"to the last of {subscribers:,}, {kind}",
                    "ms",
                    own[1],
                    references_ms,
                    ratio_at_most(1.5) if has_target else None,
                    reference_name=name,
                )
            )
    return rows


def _measure(plan: Plan, contender: Contender, subscribers: int) -> tuple[Sequence[float], Spent]:
    messages = plan.choose(_MESSAGES, 50)
    limit_s = plan.choose(_LIMIT_S, 5)
    return latencies_s(contender, subscribers, PAYLOAD, messages, limit_s)


CASE = Case(
    "latency",
    "publish to the last receipt, idle system",
    5,
    _run,
    is_drawn=lambda row: row.what.endswith("median"),
)
