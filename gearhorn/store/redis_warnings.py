# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the daemon says about a Redis that endangers its data or has lost some."""

import logging
from collections.abc import Mapping

LOG = logging.getLogger(__name__)

MOST_NAMED = 20
"""The most topics that are named when their sets were rebuilt."""


def other_process() -> None:
    LOG.warning(
        "Redis was restarted or failed over, or got its first replica; what it took last may be "
        "lost. Changes of subscriptions wait until no list is in use that was read before"
    )


def evicts(policy: str) -> None:
    LOG.warning(
        "Redis throws away any key when its memory is full (%s), and with it "
        "subscribers: set maxmemory-policy noeviction",
        policy,
    )


def rebuilt_unseen() -> None:
    LOG.error(
        "Keys were gone from Redis, and it did not answer what was rebuilt from others: compare "
        "the subscribers with those that you know"
    )


def rebuilt(sets: Mapping[str, int]) -> None:
    """Name each topic and the number of members that its set now has."""
    for topic, members in list(sets.items())[:MOST_NAMED]:
        LOG.error(
            "The set of topic %r was gone from Redis, which evicts keys or was changed by hand: "
            "rebuilt it from other keys, with %d members",
            topic,
            members,
        )
    if len(sets) > MOST_NAMED:
        LOG.error(
            "The sets of %d more topics were gone from Redis: rebuilt them too",
            len(sets) - MOST_NAMED,
        )


def untold() -> None:
    LOG.warning(
        "Redis forbids gearhorn's user to publish or to subscribe, so readers who wait for a "
        "journal are answered up to a second late: give it the rights of the page on the store"
    )
