# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The state of a daemon in a few checks, each with what to do where it fails."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gearhorn.daemon import workers
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.guard.sample import HALF_READ, UNREAD
from gearhorn.daemon.numbers.survey import COPIES, REQUEST
from gearhorn.store.patience import advice_on

BUSY = 0.9
"""The part of ``max_in_flight`` above which fan-outs in hand are worth a word."""


class Check(NamedTuple):
    """One check.

    :param text: what was found.
    :param advice: what to do, where it is not ok.
    """

    name: str
    ok: bool
    text: str
    advice: str = ""


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
        ),
        Check(
            "draining",
            not daemon.draining,
            "it is to stop, and drains" if daemon.draining else "it is not to stop, and takes jobs",
            "Nothing: what is in hand is finished first. Another daemon takes what comes.",
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
    )


def _store(daemon: Daemon) -> Check:
    fault = daemon.survey.fault()
    if fault is None:
        return Check("store", True, "the store does what it is asked")
    return Check("store", False, f"{fault.code}: {fault}", f"{advice_on(fault)}.")


def _journals(daemon: Daemon) -> Iterator[Check]:
    if differs := daemon.journals_differ:
        yield Check(
            "journals",
            False,
            f"{differs.code}: {differs}",
            "It takes no messages. Start it with the patterns of the store, or write its own "
            "there: gearhorn-fanout --config FILE --adopt-journals.",
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
        advice = f"{advice_on(fault)}. It is the store of [journal] url."
        yield Check("journals", False, f"{fault.code}: {fault}", advice)


def remarks(daemon: Daemon) -> Sequence[Check]:
    """Return what is worth a word though the daemon serves."""
    survey = daemon.survey
    found = []
    away = [
        str(server)
        for server in survey.settings.servers
        if any(server not in pool.connections for pool in survey.pools().values())
    ]
    if away and daemon.started:
        found.append(
            Check(
                "away",
                False,
                f"not all connections to {', '.join(away)} are there",
                "Start that job server, or correct [gearman] servers.",
            )
        )
    late = [
        worker_id
        for worker_id, entry in survey.matchmaking.entries.items()
        if survey.state_of(entry) == "late"
    ]
    if late:
        found.append(
            Check(
                "late",
                False,
                f"not seen for long: {', '.join(sorted(late)[:5])}",
                "They are dead or cut off. The others remove them; registrations wait for them.",
            )
        )
    worker, limit = survey.workers.fanouts, survey.settings.max_in_flight
    held = worker.held - worker.aside
    if held > BUSY * limit:
        found.append(
            Check(
                "busy",
                False,
                f"{held} fan-outs are on their way, of {limit} at the most",
                "They wait for the store, for job servers or for their turn: the log and gearhorn "
                "top say more. Else raise [fanout] max_in_flight, or start another daemon.",
            )
        )
    found += _queues(daemon)
    if policy := survey.store.evicts:
        found.append(
            Check(
                "evicts",
                False,
                f"Redis throws away any key when its memory is full ({policy})",
                "It would throw away subscribers: set maxmemory-policy noeviction.",
            )
        )
    return found


def _queues(daemon: Daemon) -> Iterator[Check]:
    """Yield what is worth a word in the last sample of the queues."""
    sample = daemon.survey.sampler.last
    if sample is None:
        return
    if unread := sample.states[UNREAD]:
        yield Check(
            "unread",
            False,
            f"no worker reads {_queues_text(unread)} in which copies wait",
            "Start the receivers, or unregister them and purge the queues: gearhorn doctor names "
            "the queues.",
        )
    if half_read := sample.states[HALF_READ]:
        yield Check(
            "half-read",
            False,
            f"on a job server where copies wait no worker reads {_queues_text(half_read)}",
            "Connect receivers to all job servers, as each queue lives on one of them: gearhorn "
            "doctor names the queues.",
        )


def _queues_text(count: int) -> str:
    return "1 queue" if count == 1 else f"{count} queues"
