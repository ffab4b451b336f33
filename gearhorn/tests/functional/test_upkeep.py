# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that end by themselves, and what daemons tidy for each other."""

from __future__ import annotations

import time

from gearhorn.tests.builders import subscription
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME, SHORT, Fleet
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually


def test_a_subscription_ends_by_itself_everywhere(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    one.register(fleet.topic, "bob", ttl=0.1)
    one.register(fleet.topic, "alice", ttl=600)
    one.register(fleet.topic, "carol")
    # The lists last for longer than the test, so somebody has told them.
    eventually(lambda: one.reached(fleet.topic) == 2)
    eventually(lambda: fleet.topic not in fleet.unconfirmed())
    assert one.said(f"subscriptions expired in 1 topics: '{fleet.topic}'")


def test_who_reaps_a_subscription_tells_the_other_daemons(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    other = fleet.add("other", **NOBODY_GOES_BY_TIME)
    one.register(fleet.topic, "bob", ttl=0.2)
    # Whoever reaps it, the other's list is as warm as can be.
    eventually(lambda: (one.reached(fleet.topic), other.reached(fleet.topic)) == (0, 0))


def test_an_expired_subscriber_counts_until_it_is_reaped(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob", ttl=0.001)

    def expired() -> bool:
        rows = fleet.store(lambda store: store.subscribers(fleet.topic, "", 1))
        return bool(rows) and rows[0].expires_in is not None and rows[0].expires_in <= 0

    counts: list[int] = []
    while not counts or counts[-1]:
        before = expired()
        counts.append(one.reached(fleet.topic))
        if before and expired():
            # Not reaped yet, and a member all the same.
            assert counts[-1] == 1
    # Once it is gone it does not come back.
    assert counts == sorted(counts, reverse=True)


def test_a_renewal_holds_whether_it_comes_before_the_reaper_or_after(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    other = fleet.add("other", **NOBODY_GOES_BY_TIME)
    names = [f"bob{number}" for number in range(60)]
    one.register_all(fleet.topic, names, ttl=0.001)

    # The reaper comes once a second. These are renewed one by one until it has come.
    for renewed, name in enumerate(names, 1):
        one.register(fleet.topic, name, ttl=600)
        assert other.reached(fleet.topic) >= renewed
        if not (one.said("subscriptions expired") or other.said("subscriptions expired")):
            time.sleep(0.02)

    assert other.reached(fleet.topic) == one.reached(fleet.topic) == len(names)


def test_a_permanent_subscription_stays(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    one.register(fleet.topic, "bob", ttl=0.2)
    one.register(fleet.topic, "bob")
    one.register(fleet.topic, "alice", ttl=0.001)
    one.until_it_says("subscriptions expired")
    eventually(lambda: one.reached(fleet.topic) == 1)


def test_an_expired_claim_is_taken_and_its_topic_is_told(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    other = fleet.add("other", **NOBODY_GOES_BY_TIME)
    # Both make the queue TOPIC_b_c.
    for _ in range(5):
        one.register(f"{fleet.topic}_b", "c", ttl=0.05)
        assert other.reached(fleet.topic) == 0
        other.reached(f"{fleet.topic}_b")

        def taken() -> Outcome | None:
            outcome = fleet.client.submit("register_one", subscription(fleet.topic, "b_c"))
            if outcome.failed:
                assert outcome.refusal == "queue_taken"
                return None
            return outcome

        eventually(taken)

        assert other.reached(fleet.topic) == 1
        assert other.reached(f"{fleet.topic}_b") == 0
        assert one.reached(f"{fleet.topic}_b") == 0
        one.unregister(fleet.topic, "b_c")


def test_many_expire_at_once(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    handles = [
        one.start_registration(f"{fleet.topic}-{number % 20}", str(number), ttl=0.1)
        for number in range(1500)
    ]
    for handle in handles:
        assert one.finish(handle).completed
    eventually(lambda: not fleet.store(lambda store: store.topics(fleet.topic, 10)))
    eventually(lambda: not fleet.unconfirmed())
