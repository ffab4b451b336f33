# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages that wait for the same topic go in one request, and each has its own report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gearhorn import errors, messages
from gearhorn.client.bundles import Bundles, Item, outcomes
from gearhorn.client.parameters import PublishOptions
from gearhorn.client.publications import Preparation, Publication

BACKGROUND = PublishOptions(background=True)


class Shop:
    """Keeps the requests that are sent, and answers them one by one."""

    def __init__(self, max_message_bytes: int = 1 << 24) -> None:
        self.under_way: list[Item] = []
        self.sent: list[list[str]] = []
        self.reports: dict[str, Any] = {}
        self.bundles = Bundles(self._send, max_message_bytes)

    def _send(self, item: Item) -> None:
        self.under_way.append(item)
        self.sent.append(payloads(item.publication))

    def publish(
        self, *names: str, topic: str = "t", options: PublishOptions = BACKGROUND, **keys: Any
    ) -> list[Item]:
        prepare = Preparation(60, 1 << 24)
        items = []
        for name in names:
            publication = prepare(topic, name, keys.get("unique"), keys.get("id"), options)
            items.append(self.bundles.start(Item(publication, self._keeper(name))))
        return items

    def _keeper(self, name: str) -> Callable[[Any], None]:
        return lambda outcome: self.reports.update({name: outcome})

    def answer(self, outcome: Any = None) -> None:
        """Answer the first request under way: all is queued for one subscriber, or `outcome`."""
        item = self.under_way.pop(0)
        item.on_done(report(len(payloads(item.publication))) if outcome is None else outcome)


def payloads(publication: Publication) -> list[str]:
    content = publication.request.content()
    return [each.decode() for each in (content if isinstance(content, tuple) else (content,))]


def report(count: int, subscribers: int = 1, **keys: Any) -> messages.FanOutReport:
    queued = count * subscribers - keys.get("failed_count", 0) - keys.get("skipped", 0)
    if count > 1:
        keys["messages"] = count
    return messages.FanOutReport(topic="t", subscribers=subscribers, queued=queued, **keys)


@pytest.fixture
async def shop() -> Shop:
    return Shop()


async def test_one_goes_at_once_and_what_comes_meanwhile_goes_together(shop: Shop) -> None:
    shop.publish("a", "b", "c")
    assert shop.sent == [["a"]]
    shop.answer()
    assert shop.sent == [["a"], ["b", "c"]]
    shop.publish("d")
    shop.answer()
    shop.answer()
    assert shop.sent == [["a"], ["b", "c"], ["d"]]
    assert shop.reports == {name: report(1) for name in "abcd"}
    # Nothing is left that would hold the next one back.
    shop.publish("e")
    assert shop.sent[-1] == ["e"]


async def test_topics_do_not_wait_for_each_other(shop: Shop) -> None:
    shop.publish("a", "b")
    shop.publish("c", topic="u")
    assert shop.sent == [["a"], ["c"]]


async def test_a_bundle_has_a_thousand_messages_and_a_megabyte(shop: Shop) -> None:
    shop.publish("first", *map(str, range(1500)))
    shop.answer()
    assert len(shop.sent[1]) == 1000
    shop.answer()
    large = "x" * 400_000
    shop.publish(*(large + str(number) for number in range(5)))
    shop.answer()
    assert [len(sent) for sent in shop.sent[2:]] == [500, 2]
    shop.answer()
    shop.answer()
    assert [len(sent) for sent in shop.sent[2:]] == [500, 2, 2, 1]


async def test_where_daemons_take_small_requests_bundles_are_small() -> None:
    shop = Shop(max_message_bytes=20_000)
    shop.publish(*("x" * 4000 + str(number) for number in range(5)))
    shop.answer()
    assert [len(sent) for sent in shop.sent] == [1, 2]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (PublishOptions(), {}),
        (BACKGROUND, {"id": "i"}),
        (BACKGROUND, {"unique": "u"}),
        (PublishOptions(background=True, priority="high"), {}),
    ],
)
async def test_others_go_alone_and_in_their_order(
    shop: Shop, options: PublishOptions, keys: dict[str, str]
) -> None:
    shop.publish("a")
    # Nothing waits that it could overtake.
    shop.publish("alone", options=options, **keys)
    assert shop.sent == [["a"], ["alone"]]
    shop.publish("b", "c")
    shop.publish("behind", options=options, **keys)
    shop.publish("d", "e")
    assert len(shop.sent) == 2
    shop.answer()
    assert shop.sent[2:] == [["b", "c"], ["behind"]]
    shop.answer()
    shop.answer()
    assert shop.sent[4:] == [["d", "e"]]


async def test_one_that_is_cancelled_while_it_waits_is_not_sent(shop: Shop) -> None:
    _, b, _ = shop.publish("a", "b", "c")
    b.cancel()
    shop.answer()
    assert shop.sent == [["a"], ["c"]]
    for item in shop.publish("d"):
        item.cancel()
    shop.answer()
    assert len(shop.sent) == 2


async def test_a_refused_bundle_is_sent_one_by_one(shop: Shop) -> None:
    shop.publish("a", "b", "c", "d")
    shop.answer()
    shop.answer(errors.MessageTooLarge("one of them"))
    assert shop.sent == [["a"], ["b", "c", "d"], ["b"], ["c"], ["d"]]
    shop.answer()
    shop.answer(errors.MessageTooLarge("this"))
    shop.answer()
    assert isinstance(shop.reports["c"], errors.MessageTooLarge)
    assert shop.reports["b"] == shop.reports["d"] == report(1)


async def test_one_that_is_cancelled_on_its_way_in_a_refused_bundle_is_not_sent_again(
    shop: Shop,
) -> None:
    _, b, _ = shop.publish("a", "b", "c")
    shop.answer()
    b.cancel()
    shop.answer(errors.MessageTooLarge("one of them"))
    assert shop.sent == [["a"], ["b", "c"], ["c"]]


async def test_daemons_that_know_no_bundles_are_sent_none(shop: Shop) -> None:
    shop.publish("a", "b", "c")
    shop.answer()
    shop.answer(errors.UnknownKey("payloads"))
    shop.publish("d", "e")
    assert shop.sent == [["a"], ["b", "c"], ["b"], ["c"], ["d"], ["e"]]


async def test_an_error_is_an_error_of_each(shop: Shop) -> None:
    shop.publish("a", "b", "c")
    shop.answer()
    shop.answer(errors.NoAnswer("no daemon"))
    assert isinstance(shop.reports["b"], errors.NoAnswer)
    assert isinstance(shop.reports["c"], errors.NoAnswer)
    assert shop.reports["b"] is not shop.reports["c"]


async def test_one_that_has_waited_for_its_time_is_not_sent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.publish("a", "b")
    loop = asyncio.get_running_loop()
    later = loop.time() + 61
    monkeypatch.setattr(loop, "time", lambda: later)
    shop.answer(errors.NoAnswer("no daemon"))
    assert isinstance(shop.reports["b"], errors.NoAnswer)
    assert len(shop.sent) == 1


# The outcome of each message.


def test_each_message_has_its_own_failures_and_sequence() -> None:
    whole = report(
        4,
        3,
        failed={"bob": "queue_full", "eve": "not_queued"},
        failed_count=4,
        failures=[(1, 3, "bob", "queue_full"), (2, 2, "eve", "not_queued")],
        journal="j",
        sequence=7,
    )
    error = errors.PartialFailure("some")
    error.report = whole
    first, second, third, fourth = outcomes(error, 4)
    assert first == report(1, 3, journal="j", sequence=7)
    sequences = []
    for one, failed in ((second, {"bob"}), (third, {"bob", "eve"}), (fourth, {"bob"})):
        assert isinstance(one, errors.PartialFailure)
        own: Any = one.report
        assert set(own.failed) == failed
        assert own.queued + own.failed_count == 3
        sequences.append(own.sequence)
    assert sequences == [8, 9, 10]


def test_where_not_all_failures_are_listed_each_has_all() -> None:
    error = errors.PartialFailure("some")
    error.report = report(
        2,
        3,
        failed={"bob": "queue_full", "eve": "not_queued"},
        failed_count=3,
        failures=[(0, 0, "bob", "queue_full")],
    )
    for one in outcomes(error, 2):
        assert isinstance(one, errors.PartialFailure)
        own: Any = one.report
        assert own.failed == {"bob": "queue_full", "eve": "not_queued"}


@pytest.mark.parametrize(
    ("skipped", "of_each"),
    [
        # A queue was full before the first, or was after the second.
        (4, [1, 1, 1, 1]),
        (2, [0, 0, 1, 1]),
        # One was full before the first, and another after the third.
        (5, [1, 1, 1, 2]),
        (8, [2, 2, 2, 2]),
    ],
)
def test_skipped_copies_are_those_of_queues_that_were_or_became_full(
    skipped: int, of_each: list[int]
) -> None:
    found: Any = outcomes(report(4, 2, skipped=skipped), 4)
    assert [each.skipped or 0 for each in found] == of_each
    assert [each.queued for each in found] == [2 - each for each in of_each]


def test_a_failed_copy_is_not_skipped_too() -> None:
    failures = [(2, 3, "bob", "not_queued")]
    keys: Any = {"failed": {"bob": "not_queued"}, "failed_count": 2, "failures": failures}
    error = errors.PartialFailure("")
    error.report = report(4, 2, skipped=6, **keys)
    assert [one.report.skipped for one in outcomes(error, 4)[2:]] == [1, 1]  # type: ignore[union-attr]
