# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The metrics: each is described, has closed labels, and is there before anything has happened."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gearhorn
from gearhorn import clock, errors
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.guard.sample import STATES, Sample, TopicSample
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.metrics import FanOutCounts
from gearhorn.daemon.numbers.families import CODES, families, numbers
from gearhorn.daemon.numbers.family import STORE_CODES, Family
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.exposition import PREFIX, Exposition
from gearhorn.service.watching import Watching
from gearhorn.store.base import Store
from gearhorn.store.endings import Endings
from gearhorn.store.journal import Journals
from gearhorn.store.patterns import SharedPatterns
from gearhorn.store.timing import JOURNAL_OPERATIONS, OPERATIONS
from gearhorn.tests.unit.test_documentation import subclasses
from gearhorn.wire.address import Address
from gearhorn.wire.tally import Histogram

PAGE = Path(gearhorn.__file__).parents[1] / "doc" / "source" / "reference" / "metrics.rst"
# These are shown as labels without their values, of which there are many.
LONG = ("server", "topic", "operation", "code", "reason", "version", "python")
SERVERS = (Address("one.example", 4730), Address("two.example", 4730))


@pytest.fixture
async def daemon() -> Daemon:
    """A daemon with journals that has not started, but has sampled the queues."""
    daemon = Daemon(
        DaemonSettings(
            servers=SERVERS,
            store_url="redis://127.0.0.1:1/0",
            queue_interval=15.0,
            journal=JournalSettings(topics=("t*",)),
        )
    )
    top = [TopicSample("t" + chr(0x202E), 5, 2, 1, 7.5), TopicSample('"a"\\')]
    states = dict.fromkeys(STATES, 1)
    daemon.survey.sampler.last = Sample(True, 2, 3, 5, 1, states, 4, 7.5, top)
    return daemon


@pytest.fixture
async def all_families(daemon: Daemon) -> list[Family]:
    return [*families(daemon.survey), *Watching(daemon).families()]


@pytest.mark.once
def test_every_metric_is_described_as_it_is(all_families: list[Family]) -> None:
    text = PAGE.read_text().partition(".. list of metrics")[2].partition(".. end of metrics")[0]
    rows = re.findall(r"^``(\w+)`` +(\w+) +(\S.*\n(?: {30,}\S.*\n)*)", text, re.MULTILINE)
    described = {name: (kind, " ".join(meaning.split())) for name, kind, meaning in rows}
    assert described.keys() == {family.name for family in all_families}
    for family in all_families:
        kind, meaning = described[family.name]
        assert kind == family.kind
        labels = re.findall(r"``(\w+)``", meaning.partition("; label")[2])
        assert labels == list(family.labels), family.name
        for index, label in enumerate(family.labels):
            if label not in LONG:
                values = dict.fromkeys(values[index] for values in family.samples)
                assert f"``{label}`` ({', '.join(values)})" in meaning


@pytest.mark.once
def test_what_is_not_in_the_status_is_described_apart(daemon: Daemon) -> None:
    text = PAGE.read_text().partition("\nProcess\n")[2].partition(".. end of metrics")[0]
    apart = {family.name for family in Watching(daemon).families()}
    assert set(re.findall(r"^``(\w+)`` ", text, re.MULTILINE)) == apart
    assert not apart & {family.name for family in families(daemon.survey)}


def test_all_is_there_before_anything_has_happened(all_families: list[Family]) -> None:
    for family in all_families:
        assert family.samples, family.name
        assert family.kind != "counter" or family.name.endswith("_total")
        for values, value in family.samples.items():
            assert len(values) == len(family.labels)
            assert family.kind != "counter" or value == 0
            assert isinstance(value, Histogram) == (family.kind == "histogram")


def test_what_is_shown_is_what_was_counted(daemon: Daemon) -> None:
    daemon.survey.counts.fanouts[False].ended(3, 2, 1, 0, 0.3)
    daemon.survey.counts.fanouts[False].reasons["not_queued"] += 1

    text = Exposition(lambda: families(daemon.survey)).text().decode()

    samples = {
        (sample.name.removeprefix(PREFIX), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("mode") == "background" and sample.labels.get("outcome") != "ok"
    }
    assert samples["fanout_copies_count", None] == 1
    assert samples["fanout_copies_sum", None] == 3
    assert samples["fanout_copies_bucket", "1.0"] == 0
    assert samples["fanout_copies_bucket", "10.0"] == 1
    assert samples["fanout_copies_bucket", "+Inf"] == 1
    assert samples["fanout_duration_seconds_bucket", "0.1"] == 0
    assert samples["fanout_duration_seconds_bucket", "0.5"] == 1
    told = numbers(daemon.survey)
    assert told['fanouts_total{mode="background",outcome="partial"}'] == 1
    assert told['fanout_duration_seconds_sum{mode="background"}'] == 0.3
    # What is 0 is left out, and so are gauges.
    assert all(told.values())
    assert not any("limit" in name for name in told)


def test_the_copies_of_fan_outs_that_ended_are_all_of_theirs_and_no_others(
    daemon: Daemon,
) -> None:
    counts = daemon.survey.counts.fanouts[False]
    counts.ended(10, 2, 3, 2, 0.3)
    counts.reasons["queue_full"] += 3
    counts.ended(5, 2, 0, 0, 0.3)
    # Of one that went back to its job server some had failed by then.
    counts.reasons["not_queued"] += 4
    counts.abandoned += 1

    shown = {family.name: family.samples for family in families(daemon.survey)}

    copies = shown["fanout_copies"]["background",]
    assert isinstance(copies, Histogram)
    assert (sum(copies.counts), copies.total) == (2, 15)
    assert shown["copies_failed_total"]["background", "not_queued"] == 4


def test_a_duplicate_is_a_request_that_was_answered(daemon: Daemon) -> None:
    counts = daemon.survey.counts
    counts.fanouts[False].ended(3, 2, 0, 0, 0.3)
    counts.requests["fanout", "ok"] += 2

    shown = {family.name: family.samples for family in families(daemon.survey)}

    assert shown["requests_total"]["fanout", "ok"] == 3
    assert shown["fanouts_total"]["background", "ok"] == 1


def test_what_is_open_and_what_is_full(daemon: Daemon) -> None:
    survey = daemon.survey
    every = survey.fanouts._turns.open
    every.enter("t", 3)
    every.enter("t", 1).begin(2)
    for server in SERVERS:
        survey.seen.server(server).full[b"t_alice"] = 1.0

    shown = {family.name: family.samples for family in families(survey)}

    assert shown["fanouts_open"] == {(): 2}
    assert shown["copies_open"] == {(): 5}
    assert shown["fanouts_waiting"] == {("list",): 0, ("job_server",): 0, ("turn",): 1}
    # On both servers it is one.
    assert shown["queues_full"] == {(): 1}


def test_what_matchmaking_and_lists_count_is_shown_by_its_cause(daemon: Daemon) -> None:
    counts, lists = daemon.survey.counts, daemon.survey.lists
    counts.by_lease.update(silent=1, restarted=2, late=3)
    counts.removed.update(expired=4, hand=5, killed=6)
    counts.dropped.update(changed=7, expired=8, evicted=9, all=10)
    counts.rejoins = 11
    counts.told(5, 2)
    counts.confirmations.note(0.3)
    lists.keep_until(clock.now() + 100)

    shown = {family.name: family.samples for family in families(daemon.survey)}

    assert shown["changes_by_lease_total"] == {("silent",): 1, ("restarted",): 2, ("late",): 3}
    assert shown["daemons_removed_total"] == {("expired",): 4, ("hand",): 5, ("killed",): 6}
    assert shown["lists_dropped_total"] == {
        ("changed",): 7,
        ("expired",): 8,
        ("evicted",): 9,
        ("all",): 10,
    }
    assert shown["rejoins_total"] == {(): 11}
    assert shown["notices_sent_total"] == {(): 5}
    assert shown["notices_confirmed_total"] == {(): 3}
    assert shown["notices_unanswered_total"] == {(): 2}
    assert shown["confirmation_duration_seconds"] == {(): counts.confirmations}
    (remaining,) = shown["lease_remaining_seconds"].values()
    assert not isinstance(remaining, Histogram)
    assert 0 < remaining <= 100
    lists.keep_none()
    shown = {family.name: family.samples for family in families(daemon.survey)}
    # It may have ended long ago.
    assert shown["lease_remaining_seconds"] == {(): 0}


def test_what_is_kept_confirmed_and_replayed_at_the_moment(daemon: Daemon) -> None:
    survey: Any = daemon.survey
    for topic, client_ids in (("t", ["alice", "bob"]), ("u", ["bob"])):
        survey.lists._lists[topic] = Recipients.of(topic, client_ids, 0.0)
    survey.matchmaking._rounds["t"] = None
    survey.journals.replays.running = 3

    shown = {family.name: family.samples for family in families(survey)}

    assert shown["cached_topics"] == {(): 2}
    assert shown["cached_subscribers"] == {(): 3}
    assert shown["confirmations_in_progress"] == {(): 1}
    assert shown["journal_replays"] == {(): 3}


async def test_how_late_the_loop_was(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearhorn.service.watching._TICK_S", 0.01)
    watching = Watching(daemon)
    watching.start()
    try:
        time.sleep(0.05)  # noqa: ASYNC251
        for _ in range(3):
            await asyncio.sleep(0)
        shown = {family.name: family.samples for family in watching.families()}
    finally:
        watching.close()
    delays = shown["loop_delay_seconds"][()]
    assert isinstance(delays, Histogram)
    assert sum(delays.counts) >= 1
    assert delays.total >= 0.04


def test_looks_at_the_job_servers(daemon: Daemon) -> None:
    one, two = SERVERS
    known = daemon.survey.seen.server(one)
    known.looks, known.look_seconds, known.asked = 3, 0.25, clock.now() - 100

    shown = {family.name: family.samples for family in families(daemon.survey)}

    assert shown["looks_total"] == {(str(one),): 3, (str(two),): 0}
    assert shown["look_seconds_total"] == {(str(one),): 0.25, (str(two),): 0}
    ages = shown["look_age_seconds"]
    age = ages[(str(one),)]
    assert not isinstance(age, Histogram)
    assert age >= 100
    # Of the other nothing was seen since the start.
    since_start = ages[(str(two),)]
    assert not isinstance(since_start, Histogram)
    assert 0 <= since_start < age


def test_a_sample_has_hostile_names_escaped(daemon: Daemon) -> None:
    text = Exposition(lambda: families(daemon.survey)).text().decode()

    parsed = {family.name: family for family in text_string_to_metric_families(text)}
    waiting = parsed[PREFIX + "topic_waiting"].samples
    assert {sample.labels["topic"]: sample.value for sample in waiting} == {
        "t" + chr(0x202E): 5,
        '"a"\\': 0,
    }


def test_a_daemon_that_does_not_sample_has_no_series_of_queues(daemon: Daemon) -> None:
    sampler = daemon.survey.sampler
    sampler.last = None
    # Before the first sample nothing is known, which is not 0.
    shown = {family.name: family.samples for family in families(daemon.survey)}
    assert shown["sample_complete"] == {(): 0}
    assert "queues" not in shown
    sampler.interval = None
    assert "sample_complete" not in {family.name for family in families(daemon.survey)}


async def test_a_daemon_has_no_series_of_what_it_cannot_do() -> None:
    plain = Daemon(DaemonSettings(servers=SERVERS, store_url="redis://127.0.0.1:1/0"))
    samples = {family.name: family.samples for family in families(plain.survey)}
    assert not [name for name in samples if name.startswith("journal_")]
    calls = {operation for (operation,) in samples["store_call_duration_seconds"]}
    assert set(OPERATIONS) - calls == {"holders", "offer_patterns"}
    # What was called before a reload turned it off is told on.
    plain.survey.counts.calls.called("holders", 0.1, None)
    samples = {family.name: family.samples for family in families(plain.survey)}
    assert ("holders",) in samples["store_call_duration_seconds"]


@pytest.mark.parametrize(
    ("copies", "failed", "outcome"),
    [(2, 0, "ok"), (0, 0, "ok"), (2, 1, "partial"), (2, 2, "failed")],
)
def test_outcomes_of_fan_outs(copies: int, failed: int, outcome: str) -> None:
    counts = FanOutCounts()
    counts.ended(copies, 1, failed, 0, 0.001)
    found = {"ok": counts.ended_ok, "partial": counts.partial, "failed": counts.failed}
    assert found == {**dict.fromkeys(found, 0), outcome: 1}
    assert counts.arrived == copies - failed


def test_every_code_and_every_call_of_the_store_has_its_series() -> None:
    codes = {error.code for error in subclasses(errors.RequestError)}
    assert {code for codes in CODES.values() for code in codes} == {
        *codes,
        *STORE_CODES,
        errors.GearhornError.code,
        "ok",
    }
    assert set(STORE_CODES) == {error.code for error in subclasses(errors.StoreError)} | {
        errors.StoreError.code
    }
    methods = {**vars(Store), **vars(Endings), **vars(SharedPatterns)}
    asked = {name for name in methods if not name.startswith(("_", "on_"))}
    assert set(OPERATIONS) == asked - {
        *("close", "set_timeout", "run_changed_at", "evicts"),
        # With these a command does what an operator said.
        *("mend", "adopt_patterns"),
    }
    asked = {name for name in vars(Journals) if not name.startswith(("_", "on_"))}
    assert set(JOURNAL_OPERATIONS) == asked - {
        *("close", "set_timeout", "watch", "unwatch"),
        # Made of others.
        *("page", "upkeep", "head", "read"),
    }


def test_what_is_skipped_neither_arrives_nor_fails() -> None:
    counts = FanOutCounts()
    counts.ended(5, 1, 1, 2, 0.001)
    assert (counts.arrived, counts.skipped, counts.partial) == (2, 2, 1)
