# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checks of ``gearhorn doctor`` on queues."""

import shlex
from collections.abc import Iterator

from gearhorn.client.reception import NAME as SUBSCRIBER
from gearhorn.cmd.cli import findings
from gearhorn.cmd.cli.facts import (
    Facts,
    function_names,
    grows,
    jobs_waiting,
    workers_of,
)
from gearhorn.cmd.cli.findings import Finding
from gearhorn.cmd.cli.output import listed, plural, seconds
from gearhorn.cmd.cli.session import total
from gearhorn.messages import queue_name
from gearhorn.service import advice

UNREAD_ADVICE = "Start its receiver, or unregister it and purge the queue."


def check_queues(facts: Facts) -> Iterator[Finding]:
    """Yield all findings about queues."""
    yield from _own_queues(facts)
    yield from _subscriber_queues(facts)
    yield from _other_queues(facts)
    yield from _collisions(facts)


def _own_queues(facts: Facts) -> Iterator[Finding]:
    for function in facts.functions.values():
        if grows(facts, function):
            waiting = jobs_waiting(facts.second, function)
            yield Finding(
                findings.BACKLOG,
                function,
                f"the daemons do not keep up: {plural(waiting, 'job')} of {function} waiting, more "
                f"than {seconds(facts.interval)} ago",
                "They wait for the store or for receivers, or are too few: see their logs, start "
                "another, raise [fanout] max_in_flight.",
            )


def _subscriber_queues(facts: Facts) -> Iterator[Finding]:
    for queue in facts.subscriptions or ():
        state = total(facts.second, queue)
        waiting = jobs_waiting(facts.second, queue)
        without = [
            str(server)
            for server, states in facts.second.items()
            if queue not in states or not states[queue].workers
        ]
        if not state.workers and waiting:
            growing = ", and more come" if grows(facts, queue) else ""
            yield Finding(
                findings.QUEUE_UNREAD,
                queue,
                f"{plural(waiting, 'message')} waiting in {queue}, which no worker reads{growing}",
                UNREAD_ADVICE,
            )
        elif grows(facts, queue):
            more = waiting - jobs_waiting(facts.first, queue)
            yield Finding(
                findings.QUEUE_GROWS,
                queue,
                f"{queue} grows: {plural(waiting, 'message')} waiting, "
                f"{more} more than {seconds(facts.interval)} ago",
                f"Too few read it, {plural(state.workers, 'worker')}: start more. If it shrinks "
                "at another look, it was a burst.",
            )
        if state.workers and without:
            yield Finding(
                findings.QUEUE_HALF_READ,
                queue,
                f"no worker reads {queue} on {listed(without)}",
                "Connect receivers to all job servers: each queue lives on one of them.",
            )


def _other_queues(facts: Facts) -> Iterator[Finding]:
    """Check the functions that are neither a subscriber's queue nor the daemons' own."""
    subscriptions = facts.subscriptions
    if facts.status is None or subscriptions is None:
        return
    own = {*facts.functions.values(), *facts.status.functions.values()}
    prefix = queue_name(facts.status.matchmaking_topic, "")
    foreign = []
    topics = {queue_name(topic, "") for held in subscriptions.values() for topic, _ in held}
    for function in function_names(facts):
        if function in subscriptions or function in own or function.startswith(prefix):
            continue
        state = total(facts.second, function)
        waiting = jobs_waiting(facts.second, function)
        ours = any(function.startswith(topic) for topic in topics)
        if state.workers and not total(facts.first, function).workers:
            # It came between the two looks, perhaps after the daemons were asked.
            continue
        readers = workers_of(facts, function) if state.workers else []
        if any(name.startswith(SUBSCRIBER) for name in readers):
            yield Finding(
                findings.QUEUE_UNREGISTERED,
                function,
                f"a Subscriber reads {function}, but nobody is registered for it: it gets no "
                "messages",
                "It registers again by itself, within five minutes unless its renew says "
                "otherwise. If it was made with register=False, register it.",
            )
        elif state.workers and ours:
            yield Finding(
                findings.QUEUE_UNREGISTERED,
                function,
                f"a worker reads {function}, which looks like a subscriber's queue, but nobody is "
                "registered for it",
                "Register it, or end the worker: it gets no messages.",
            )
        elif state.workers and "_" in function[1:-1]:
            foreign.append(function)
        elif waiting and not state.workers:
            yield Finding(
                findings.QUEUE_ORPHANED
                if ours or function in facts.ended
                else findings.QUEUE_FOREIGN,
                function,
                f"{plural(waiting, 'job')} waiting in {function}, which no worker reads and nobody "
                "is registered for",
                _orphan_advice(facts, function),
            )
    if foreign:
        yield Finding(
            findings.QUEUE_PERHAPS_UNREGISTERED,
            listed(foreign, 6),
            f"workers read {listed(foreign, 6)}, for which nobody is registered, and which no "
            "topic with subscribers begins",
            "If it is a subscriber's queue, register it: it gets no messages. Else it is another "
            "application's.",
        )


def _orphan_advice(facts: Facts, queue: str) -> str:
    if queue not in facts.ended:
        return "If it was a subscriber's queue, purge it; else it is another application's."
    limits = None if facts.status is None else facts.status.limits
    discard_after = float((limits or {}).get("discard_after", 0))
    names = " ".join(map(shlex.quote, facts.ended[queue]))
    text = "It is what an ended subscription left."
    if discard_after:
        text += f" The daemons discard it {seconds(discard_after)} {advice.DISCARDED}"
    return f"{text} To discard it now: gearhorn purge {names}"


def _collisions(facts: Facts) -> Iterator[Finding]:
    if facts.status is None:
        return
    own = set(facts.status.functions.values())
    for queue, held in (facts.subscriptions or {}).items():
        pairs = listed(f"{client_id} of {topic}" for topic, client_id in held)
        if len(held) > 1:
            text = f"{pairs} share the queue {queue}: each gets only a part of the messages"
        elif queue in own:
            text = f"the queue of {pairs} is the daemons' own function {queue}"
        else:
            continue
        yield Finding(
            findings.COLLISION,
            queue,
            text,
            "Unregister it and register it under another client_id or topic.",
        )
