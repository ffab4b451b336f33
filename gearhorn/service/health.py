# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The state of a daemon in a few checks, each with what to do where it fails."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gearhorn.daemon import workers
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.guard.sample import HALF_READ, ORPHANED, UNREAD
from gearhorn.daemon.numbers.survey import COPIES, REQUEST
from gearhorn.daemon.trust.agreement import LIMITS
from gearhorn.service import advice
from gearhorn.store.patience import advice_on

BUSY = 0.9
"""The part of ``max_in_flight`` above which fan-outs in hand are worth a word."""

_MOST_NAMED = 5
_NAMES = "gearhorn doctor names the queues."
_NOT_READY = advice.link("alert-gearhornnotready")
_JOURNAL = advice.link(advice.finding("journal"))


class Check(NamedTuple):
    """One check.

    :param text: what was found.
    :param advice: what to do, where it is not ok.
    :param link: the entry of the runbook, where it has one.
    """

    name: str
    ok: bool
    text: str
    advice: str = ""
    link: str = ""


def readiness(daemon: Daemon) -> Sequence[Check]:
    """Return the checks of whether the daemon serves; of journals only where it has to do with
    some."""
    return (
        Check(
            "started",
            daemon.started,
            "it has started" if daemon.started else "it has not started yet",
            "It waits for a job server or for the store: the other checks and the log say for "
            "which.",
            _NOT_READY,
        ),
        Check(
            "draining",
            not daemon.draining,
            "it is to stop, and drains" if daemon.draining else "it is not to stop, and takes jobs",
            "Nothing: what is in hand is finished first. Another daemon takes what comes.",
            _NOT_READY,
        ),
        _job_servers(daemon),
        _store(daemon),
        *_journals(daemon),
    )


def _job_servers(daemon: Daemon) -> Check:
    pools = daemon.survey.pools()
    needed = [workers.QUERY, workers.NOTICE, COPIES]
    if daemon.journals_differ is None:
        needed = [workers.FANOUT, REQUEST, workers.READ, *needed]
    without = [role for role in needed if not pools[role].connections]
    return Check(
        "job-servers",
        not without,
        f"no job server is connected for {', '.join(without)}"
        if without
        else "a job server is connected for everything",
        "Check that gearmand runs and can be reached, and [gearman] servers.",
        advice.link(advice.finding("daemon-servers")),
    )


def _store(daemon: Daemon) -> Check:
    fault = daemon.survey.fault()
    if fault is None:
        return Check("store", True, "the store does what it is asked")
    link = advice.link(advice.code(fault.code))
    return Check("store", False, f"{fault.code}: {fault}", f"{advice_on(fault)}.", link)


def _journals(daemon: Daemon) -> Iterator[Check]:
    if differs := daemon.journals_differ:
        yield Check(
            "journals",
            False,
            f"{differs.code}: {differs}",
            "It takes no messages. Start it with the patterns of the store, or write its own "
            "there: gearhorn-fanout --config FILE --adopt-journals.",
            _JOURNAL,
        )
        return
    journals = daemon.survey.journals
    if journals.patterns is None:
        return
    # One store for both has one fault.
    fault = journals.fault if journals.is_apart else None
    if fault is None:
        yield Check("journals", True, "messages are appended to journals")
    else:
        remedy = f"{advice_on(fault)}. It is the store of [journal] url."
        yield Check("journals", False, f"{fault.code}: {fault}", remedy, _JOURNAL)


def remarks(daemon: Daemon) -> Sequence[Check]:
    """Return what is worth a word though the daemon serves, worst first, as doctor has it."""
    return [
        *_differing(daemon, limits=False),
        *_away(daemon),
        *_evicting(daemon),
        *_late(daemon),
        *_full(daemon),
        *_unread(daemon),
        *_busy(daemon),
        *_differing(daemon, limits=True),
        *_orphaned(daemon),
    ]


def _remark(name: str, finding: str, text: str, remedy: str) -> Check:
    """Return a remark with the entry of the runbook that doctor's finding has."""
    return Check(name, False, text, remedy, advice.link(advice.finding(finding)))


def _differing(daemon: Daemon, *, limits: bool) -> Iterator[Check]:
    """Yield a remark if other daemons differ in limits, or in what all must agree on."""
    survey = daemon.survey
    found = {
        worker_id: [
            option
            for option in survey.agreement.differing(entry)
            if option.startswith(LIMITS) == limits
        ]
        for worker_id, entry in survey.matchmaking.entries.items()
        # What is said of itself in the store may be what a reload is about to change.
        if worker_id != daemon.worker_id
    }
    others = sorted(worker_id for worker_id, options in found.items() if options)
    if not others:
        return
    options = sorted({option for options in found.values() for option in options})
    who = "daemon {} differs" if len(others) == 1 else "daemons {} differ"
    text = f"{who.format(_listed(others))} from this one in {_listed(options)}"
    if limits:
        yield _remark("limits", "daemon-limits", text, advice.LIMITS)
    else:
        yield _remark("settings", "daemon-settings", text, advice.SETTINGS)


def _away(daemon: Daemon) -> Iterator[Check]:
    survey = daemon.survey
    away = [
        str(server)
        for server in survey.settings.servers
        if any(server not in pool.connections for pool in survey.pools().values())
    ]
    if away and daemon.started:
        text = f"not all connections to {', '.join(away)} are there"
        yield _remark("away", "daemon-servers", text, advice.AWAY)


def _evicting(daemon: Daemon) -> Iterator[Check]:
    if policy := daemon.survey.store.evicts:
        text = f"Redis throws away any key when its memory is full ({policy})"
        yield _remark("evicts", "store-evicts", text, advice.EVICTS)


def _late(daemon: Daemon) -> Iterator[Check]:
    survey = daemon.survey
    late = [
        worker_id
        for worker_id, entry in survey.matchmaking.entries.items()
        if survey.state_of(entry) == "late"
    ]
    if late:
        yield _remark(
            "late",
            "daemon-late",
            f"not seen for long: {_listed(sorted(late))}",
            "They are dead or cut off. The others remove them; registrations wait for them. To "
            "remove one now: gearhorn remove-daemon.",
        )


def _busy(daemon: Daemon) -> Iterator[Check]:
    worker, limit = daemon.survey.workers.fanouts, daemon.survey.settings.max_in_flight
    held = worker.held - worker.aside
    if held > BUSY * limit:
        yield _remark(
            "busy",
            "backlog",
            f"{held} fan-outs are on their way, of {limit} at the most",
            "They wait for the store, for job servers or for their turn: the log and gearhorn "
            "top say more. Else raise [fanout] max_in_flight, or start another daemon.",
        )


def _full(daemon: Daemon) -> Iterator[Check]:
    if full := daemon.survey.seen.queues_full:
        yield _remark(
            "full",
            "queue-full",
            f"{_queues_text(full)} {'is' if full == 1 else 'are'} full: further messages are not "
            "sent there",
            f"{advice.FULL} Each gets messages again {advice.FULL_UNTIL}. {_NAMES}",
        )


def _unread(daemon: Daemon) -> Iterator[Check]:
    """Yield what the last sample shows of queues that are subscribers' and not read."""
    sample = daemon.survey.sampler.last
    if sample is None:
        return
    if unread := sample.states[UNREAD]:
        yield _remark(
            "unread",
            "queue-unread",
            f"no worker reads {_queues_text(unread)} in which copies wait",
            "Start the receivers, or unregister them and purge the queues: gearhorn doctor names "
            "the queues.",
        )
    if half_read := sample.states[HALF_READ]:
        yield _remark(
            "half-read",
            "queue-half-read",
            f"on a job server where copies wait no worker reads {_queues_text(half_read)}",
            "Connect receivers to all job servers, as each queue lives on one of them: gearhorn "
            "doctor names the queues.",
        )


def _orphaned(daemon: Daemon) -> Iterator[Check]:
    sample = daemon.survey.sampler.last
    if sample is None or not sample.states[ORPHANED]:
        return
    orphaned = sample.states[ORPHANED]
    discard_after = daemon.survey.settings.limits.discard_after
    discarded = f"The daemons discard it {discard_after:g} s {advice.DISCARDED} "
    yield _remark(
        "orphaned",
        "queue-orphaned",
        f"copies wait in {_queues_text(orphaned)} for which nobody is registered",
        "It is what ended subscriptions left. "
        f"{discarded if discard_after else ''}To discard it now: gearhorn purge. {_NAMES}",
    )


def _queues_text(count: int) -> str:
    return "1 queue" if count == 1 else f"{count} queues"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
