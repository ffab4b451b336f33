# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The library for asyncio in programs with more than one event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gearhorn import AsyncPublisher, AsyncReader, AsyncSubscriber, errors
from gearhorn.tests.functional.conftest import Topic


def test_a_publisher_works_on_one_loop_after_the_other(queued: Topic) -> None:
    publisher = AsyncPublisher(queued.server.address, timeout=10)

    async def publish() -> None:
        assert (await publisher.publish(queued.name, "x", background=True)).queued == 1
        many = [(queued.name, "x")] * 3
        reports = [r async for r in publisher.publish_many(many, background=True)]
        assert [r.queued for r in reports] == [1] * 3

    for _ in range(3):
        asyncio.run(publish())
    thread = threading.Thread(target=asyncio.run, args=(publish(),))
    thread.start()
    thread.join()
    asyncio.run(publisher.close())
    assert queued.waiting("bob") == 16
    with pytest.raises(errors.Closed):
        asyncio.run(publish())


def test_a_publisher_works_after_a_loop_that_left_something_under_way(queued: Topic) -> None:
    publisher = AsyncPublisher(queued.server.address, timeout=10)

    async def leave() -> None:
        publishing = asyncio.ensure_future(publisher.publish(queued.name, "x"))
        while not queued.waiting("bob"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not publishing.done()

    async def publish() -> int:
        async with publisher:
            return (await publisher.publish(queued.name, "x", background=True)).queued or 0

    asyncio.run(leave())
    assert asyncio.run(publish()) == 1


def test_a_publisher_that_is_in_use_on_another_loop_says_what_to_do(queued: Topic) -> None:
    publisher = AsyncPublisher(queued.server.address, timeout=10)

    async def publish() -> int:
        return (await publisher.publish(queued.name, "x", background=True)).queued or 0

    async def publish_many() -> None:
        async for _ in publisher.publish_many([(queued.name, "x")]):
            pass

    async def main() -> None:
        assert await publish() == 1
        for elsewhere in (publish, publish_many):
            with pytest.raises(errors.WrongLoop, match="make one for each loop"):
                await asyncio.to_thread(asyncio.run, elsewhere())
        # Where it is in use nothing has changed.
        assert await publish() == 1
        await publisher.close()

    asyncio.run(main())


def test_a_reader_works_on_one_loop_after_the_other(journaled: Topic) -> None:
    reader = AsyncReader(journaled.server.address, journaled.name)

    async def read() -> list[str]:
        return [entry.text async for entry in reader]

    for number in ("1", "2", "3"):
        assert journaled.publish(number, background=True).completed
        assert asyncio.run(asyncio.wait_for(read(), 20)) == [number]
    asyncio.run(reader.close())
    with pytest.raises(errors.Closed):
        asyncio.run(read())


def test_a_reader_that_is_in_use_on_another_loop_says_what_to_do(journaled: Topic) -> None:
    reader = AsyncReader(journaled.server.address, journaled.name)

    async def read() -> list[str]:
        return [entry.text async for entry in reader]

    async def main() -> None:
        assert journaled.publish("1", background=True).completed
        assert await read() == ["1"]
        with pytest.raises(errors.WrongLoop, match="make one for each loop"):
            await asyncio.to_thread(asyncio.run, read())
        # Where it is in use nothing has changed.
        assert journaled.publish("2", background=True).completed
        assert await read() == ["2"]
        await reader.close()

    asyncio.run(main())


def test_a_subscriber_that_was_made_elsewhere_serves_once(queued: Topic) -> None:
    subscriber = AsyncSubscriber(queued.server.address, "bob", register=False)

    @subscriber.on(queued.name)
    async def handle(message: object) -> str:
        subscriber.stop()
        return "handled"

    handle_of_job = queued.start("x", gather=True)
    asyncio.run(asyncio.wait_for(subscriber.run(), 20))
    assert queued.client.finish(handle_of_job).report["results"] == {"bob": "handled"}
    with pytest.raises(errors.Closed, match="make another"):
        asyncio.run(subscriber.run())
