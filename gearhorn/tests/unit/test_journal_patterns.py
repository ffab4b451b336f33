# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which topics have a journal, and whether this daemon's patterns are those of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from gearhorn.daemon.journal.in_force import InForce
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.store.changes import Change
from gearhorn.store.journal import JournalLimits
from gearhorn.store.patience import Patience
from gearhorn.store.patterns import Patterns as Shared
from gearhorn.store.patterns import Written

CHANGE = Change("__matchmaking", 7)


def patterns(*topics: str) -> Patterns:
    return Patterns(JournalSettings(topics), never="__matchmaking")


@pytest.mark.parametrize(
    ("topic", "messages"),
    [
        ("orders.new", 10_000),
        ("Orders.new", None),
        ("state.lamp", 1),
        ("orders", None),
        ("jx", 10_000),
        ("jxy", None),
        ("k1", 5),
        ("__matchmaking", None),
        ("__matchmaker", 10_000),
    ],
)
def test_the_first_pattern_that_fits_counts(topic: str, messages: int | None) -> None:
    own = patterns(
        "orders.*",
        "state.*?max_messages=1&max_age=0",
        "state.l*",
        "j?",
        "k[12]?max_messages=5",
        "__*",
    )
    limits = own.limits(topic)
    assert (None if limits is None else limits.max_messages) == messages


def test_the_limits_of_a_pattern_replace_some_of_the_configurations() -> None:
    own = patterns("a?max_bytes=7&max_age=1.5")
    assert own.limits("a") == JournalLimits(10_000, 7, 1.5)
    assert own.texts == ("a",)


class PlayedStore:
    """The patterns in the subscriptions' store."""

    def __init__(self, *topics: str, version: int = 0) -> None:
        self.shared = Shared(version, topics)
        self.ignorant: Sequence[str] = ()

    async def patterns(self) -> Shared:
        return self.shared

    async def offer_patterns(self, topics: Sequence[str], journals: str) -> Written:
        if self.ignorant:
            return Written(self.shared, self.ignorant)
        if not self.shared.version:
            self.shared = Shared(1, tuple(topics), journals, in_force=False)
        return Written(self.shared, (), (CHANGE,))


class World:
    """A daemon's patterns, beside those of a store."""

    def __init__(self, store: PlayedStore, *own: str) -> None:
        self.store = store
        self.own = patterns(*own) if own else None
        self.confirmed: list[Change] = []
        self.told: list[object] = []
        played: Any = store
        self.in_force = InForce(
            played, Patience(), self.own, identity=lambda: "", confirm=self._confirm
        )
        self.in_force.on_paused = self._paused
        self.in_force.on_resumed = self.told.append

    async def _confirm(self, change: Change) -> None:
        self.confirmed.append(change)
        self.store.shared = self.store.shared._replace(in_force=True)

    async def _paused(self) -> None:
        self.told.append("paused")

    def covers(self, topic: str) -> bool:
        return self.own is not None and self.own.covers(topic)

    def limits_kept(self, topic: str) -> JournalLimits | None:
        assert self.own is not None
        return self.own.limits_kept(topic)

    async def look(self) -> None:
        await self.in_force._look()


async def test_the_first_daemon_with_patterns_writes_them_and_serves_once_all_know() -> None:
    world = World(PlayedStore(), "a")
    await world.look()

    assert world.confirmed == [CHANGE]
    assert world.told == [1]
    assert world.covers("a")
    assert world.limits_kept("a") is not None

    # Others are adopted meanwhile: it ends nothing any more by limits of its own.
    world.store.shared = Shared(2, ("b",))
    await world.look()
    assert world.limits_kept("a") is None


async def test_without_any_anywhere_it_serves_and_writes_none() -> None:
    world = World(PlayedStore())
    await world.look()

    assert (world.told, world.store.shared.version) == ([0], 0)


@pytest.mark.parametrize("own", [("b",), ("a", "b"), ()])
async def test_a_daemon_with_others_takes_nothing_until_they_are_its_own(
    own: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(PlayedStore("b", "a", version=3), *own)
    for _ in range(2):
        await world.look()

    assert not world.in_force.serves
    assert caplog.text.count("[journal] topics differ: the store has b, a, this daemon") == 1
    world.store.shared = Shared(4, own)
    await world.look()
    assert world.told == [4]
    assert "serving again" in caplog.text


async def test_beside_a_daemon_of_the_last_release_no_topic_has_a_journal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(PlayedStore(), "a")
    world.store.ignorant = ["old"]
    await world.look()
    assert world.told == [0]
    assert not world.covers("a")
    assert "which know of none: old" in caplog.text

    world.store.ignorant = ()
    await world.look()
    # What is at hand goes back, as it was taken without.
    assert world.told == [0, "paused", 1]
    assert world.covers("a")


async def test_a_list_of_another_version_is_not_used_until_it_is_known_by_what() -> None:
    world = World(PlayedStore("a", version=3), "a")
    await world.look()
    world.store.shared = Shared(4, ("b",))

    waiting = asyncio.ensure_future(world.in_force.until_served(4))
    await asyncio.sleep(0)
    assert world.told == [3, "paused"]
    await world.look()
    assert not waiting.done()
    world.store.shared = Shared(5, ("a",))
    await world.look()
    await asyncio.wait_for(waiting, 10)
    assert world.told == [3, "paused", 5]


async def test_patterns_that_are_not_confirmed_yet_are_confirmed_first() -> None:
    world = World(PlayedStore("a", version=3), "a")
    world.store.shared = world.store.shared._replace(in_force=False)
    await world.look()

    assert world.confirmed == [CHANGE]
    assert world.told == [3]
