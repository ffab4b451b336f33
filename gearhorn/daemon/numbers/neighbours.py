# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers of what is around a daemon: job servers, store, and other daemons."""

from collections.abc import Iterator

from gearhorn import clock
from gearhorn.daemon import metrics
from gearhorn.daemon.numbers.family import STORE_CODES, Family, by, calls, one, plain
from gearhorn.daemon.numbers.survey import STATES, Survey
from gearhorn.store.timing import OPERATIONS
from gearhorn.wire.address import Address
from gearhorn.wire.tally import Histogram, Tally


def job_servers(survey: Survey) -> Iterator[Family]:
    servers, pools = survey.settings.servers, survey.pools()
    yield Family(
        "job_server_up",
        "gauge",
        "1 if there is a connection for this role.",
        {
            (str(server), role): int(server in pool.connections)
            for server in servers
            for role, pool in pools.items()
        },
        ("server", "role"),
    )
    loads = {server: survey.submitter.load(server) for server in servers}
    for index, (name, text) in enumerate(
        (
            ("block_size", "The most copies of the next block."),
            ("copies_unsent", "Copies that wait to be sent."),
            ("copies_unanswered", "Copies that were sent and are not queued yet."),
        )
    ):
        samples = {str(server): load[index] for server, load in loads.items()}
        yield Family(name, "gauge", text, by(samples), ("server",))
    for name, text, attribute in (
        ("job_server_connects_total", "Connections that were made.", "connects"),
        ("job_server_losses_total", "Connections that were lost.", "losses"),
        ("job_server_errors_total", "ERROR packets that the server sent.", "errors"),
    ):
        totals = {
            str(server): sum(
                getattr(pool.tallies[server], attribute)
                for pool in pools.values()
                if server in pool.tallies
            )
            for server in servers
        }
        yield Family(name, "counter", text, by(totals), ("server",))
    yield Family(
        "block_duration_seconds",
        "histogram",
        "The time from a block to its last answer.",
        {(str(server),): _blocks(survey, server) for server in servers},
        ("server",),
    )


def _blocks(survey: Survey, server: Address) -> Histogram:
    tally = survey.submitter.tallies.get(server)
    return Tally().blocks if tally is None else tally.blocks


def store(survey: Survey) -> Iterator[Family]:
    counts, fault = survey.counts, survey.fault()
    up = int(survey.store_is_up())
    yield Family("store_up", "gauge", "1 if the store does what it is asked.", one(up))
    yield Family(
        "store_fault",
        "gauge",
        "1 for the error for which calls of the store wait.",
        {(code,): int(fault is not None and fault.code == code) for code in STORE_CODES},
        ("code",),
    )
    yield Family(
        "store_calls_waiting", "gauge", "Calls that wait for it.", one(survey.patience.waiting)
    )
    yield Family(
        "store_fault_seconds_total",
        "counter",
        "Seconds with such an error.",
        one(survey.patience.fault_seconds),
    )
    unused = set()
    if survey.journals.patterns is None:
        unused.add("offer_patterns")
    if survey.sampler.interval is None:
        unused.add("holders")
    operations = [name for name in OPERATIONS if name not in unused - counts.calls.seconds.keys()]
    names = ("store_errors_total", "store_call_duration_seconds")
    yield from calls(names, "the store", operations, counts.calls)


def daemons(survey: Survey) -> Iterator[Family]:
    counts, matchmaking = survey.counts, survey.matchmaking
    states = dict.fromkeys(STATES, 0)
    for entry in matchmaking.entries.values():
        states[survey.state_of(entry)] += 1
    yield Family(
        "daemons", "gauge", "Daemons with an entry, at the last look.", by(states), ("state",)
    )
    remaining = max(0.0, survey.lists.kept_until - clock.now())
    yield from plain(
        "gauge",
        ("confirmations_in_progress", "Changes being confirmed.", matchmaking.confirming),
        ("lease_remaining_seconds", "How long lists may yet be kept.", remaining),
    )
    yield from plain(
        "counter",
        ("notices_sent_total", "Daemons told of a change.", counts.notices_sent),
        ("notices_confirmed_total", "Those that confirmed.", counts.notices_confirmed),
        ("notices_unanswered_total", "Those that did not.", counts.notices_unanswered),
        ("notices_received_total", "Changes that others told.", counts.notices_received),
        ("rejoins_total", "Times that the own entry was gone.", counts.rejoins),
        ("subscriptions_expired_total", "Expired, removed here.", survey.store.reaped),
    )
    yield Family(
        "changes_by_lease_total",
        "counter",
        "Changes that waited for the end of all leases.",
        {(cause,): counts.by_lease[cause] for cause in metrics.BY_LEASE},
        ("cause",),
    )
    yield Family(
        "daemons_removed_total",
        "counter",
        "Entries of others that were removed here.",
        {(how,): counts.removed[how] for how in metrics.REMOVED},
        ("how",),
    )
    yield Family(
        "confirmation_duration_seconds",
        "histogram",
        "The time from a change to its confirmation.",
        one(counts.confirmations),
    )
