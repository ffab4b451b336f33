# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers of what keeps queues and open fan-outs within their limits."""

from collections.abc import Iterator

from gearhorn import clock
from gearhorn.daemon.numbers.family import Family, by, one, plain
from gearhorn.daemon.numbers.survey import Survey


def open_fanouts(survey: Survey) -> Iterator[Family]:
    settings, fanouts = survey.settings, survey.fanouts
    yield from plain(
        "gauge",
        ("fanouts_open", "Foreground fan-outs that are open.", fanouts.open),
        ("fanouts_open_limit", "[fanout] max_open_fanouts.", settings.max_open_fanouts),
        ("copies_open", "Their copies that are not answered.", fanouts.copies_open),
        ("copies_open_limit", "[fanout] max_open_copies.", settings.max_open_copies),
    )


def guard(survey: Survey) -> Iterator[Family]:
    counts, endings, now = survey.counts, survey.endings, clock.now()
    seen = {str(server): survey.seen.server(server) for server in survey.settings.servers}
    yield Family(
        "queues_full", "gauge", "Queues that get no messages.", one(survey.seen.queues_full)
    )
    yield Family(
        "looks_total",
        "counter",
        "Looks at the depths of its queues.",
        by({server: known.looks for server, known in seen.items()}),
        ("server",),
    )
    yield Family(
        "look_seconds_total",
        "counter",
        "Seconds that it took to answer these.",
        by({server: known.look_seconds for server, known in seen.items()}),
        ("server",),
    )
    ages = {
        server: now - (counts.since if known.asked is None else known.asked)
        for server, known in seen.items()
    }
    yield Family(
        "look_age_seconds", "gauge", "The time since the last look.", by(ages), ("server",)
    )
    yield from plain(
        "counter",
        ("publishers_left_total", "Fan-outs whose publisher left.", counts.publishers_left),
        ("subscriptions_idle_total", "Ended here, as nobody served them.", endings.ended_idle),
        ("copies_discarded_total", "Left by ended subscriptions.", endings.discarded),
    )
