# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The positions of a subscriber: all of its queues, and what they do together."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gearhorn import errors, messages
from gearhorn.client.binding import Binding
from gearhorn.client.caller import Caller
from gearhorn.client.journal import asking
from gearhorn.client.journal.file_position import Position
from gearhorn.client.journal.following import Follower, OnMissed, Shown
from gearhorn.client.parameters import PositionOptions
from gearhorn.messages import Subscription
from gearhorn.wire.job import Job

LOG = logging.getLogger(__name__)

T = TypeVar("T")

MOST_KEPT = 1000
"""The copies beyond those fetched ahead that are kept behind missing ones."""

_in_use: set[tuple[int, str, str]] = set()
"""The positions that subscribers of this process use: by their object, topic, client_id."""


class Positions:
    """The positions of a subscriber. Runs in the event loop, but for :meth:`respond`.

    :param call_soon: has the loop call something, from any thread.
    :param hand_on: gives a message to the handlers.
    :param answer: answers a copy.
    :param give_back: has copies go to a subscriber again.
    :param held: returns the number of copies that are fetched and not answered.
    :param serve: begins to fetch the copies of a queue.
    :param on_left: called once the follower of a topic that is off has ended.
    :param on_failed: called with what a position, or a part of the library, raised.
    """

    def __init__(
        self,
        options: PositionOptions,
        caller: Caller,
        *,
        threaded: bool,
        call_soon: Callable[..., object],
        hand_on: Callable[[list[Job]], None],
        answer: Callable[[Job, bytes | None], None],
        give_back: Callable[[list[Job]], None],
        held: Callable[[], int],
        serve: Callable[[str], None],
        on_left: Callable[[], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        self.position: Position = options.position
        self.on_missed: OnMissed | None = options.on_missed
        self._options = options
        self._caller = caller
        self._threaded = threaded
        self._call_soon = call_soon
        self._hand_on = hand_on
        self._answer = answer
        self._give_back = give_back
        self._held = held
        self._serve = serve
        self._on_left = on_left
        self._on_failed = on_failed
        self._followers: dict[bytes, asyncio.Task[Follower]] = {}
        """By the queue; each is being made, or there."""
        self._leaving: dict[bytes, asyncio.Task[None]] = {}
        """By the queue, those that are off: the last one's end, which comes after the others'."""
        self._shown: dict[Job, Follower] = {}
        """The followers of the messages that are with the handlers."""
        self._used: set[tuple[int, str, str]] = set()
        # One thread, so that what is written later is not overtaken.
        self._executor = ThreadPoolExecutor(1, "gearhorn position")
        self._writing = threading.Lock()
        """Held while the position, or the program, is called."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._check = asyncio.get_running_loop().create_task(self._check_often())

    # What the reception does with it.

    def add(self, binding: Binding) -> None:
        """Read the position of a binding, before its queue is served."""
        queue = binding.queue.encode()
        if queue not in self._followers:
            making = self._make(binding, self._leaving.get(queue))
            self._followers[queue] = asyncio.get_running_loop().create_task(making)

    def remove(self, binding: Binding) -> None:
        """Follow a queue no more. Its message in hand is still handled, and written."""
        queue = binding.queue.encode()
        making = self._followers.pop(queue, None)
        if making is None:
            return
        if _is_made(making):
            # At once: a message that ends in the same turn of the loop must not show the next.
            self._give_back(making.result().leave())
        self._leaving[queue] = self.start_task(self._leave(queue, making))

    @property
    def leaving(self) -> bool:
        """True while a message of a topic that is off may be in hand."""
        return bool(self._leaving)

    def registered(self, binding: Binding, answer: Subscription) -> None:
        """Take the answer to a registration; the first has the queue served."""
        self.start_task(self._begin(binding, answer))

    def unregistered(self, binding: Binding) -> None:
        """Serve a queue that is not registered here."""
        self.start_task(self._begin(binding, None))

    def take(self, jobs: list[Job]) -> None:
        """Take copies that came from the queues."""
        for job in jobs:
            making = self._followers.get(job.function)
            if making is None or not making.done():
                # It was on its way when its topic went off.
                self._give_back([job])
            elif not making.exception():
                making.result().came(job)

    def respond(self, job: Job, data: bytes | None) -> None:
        """Take the end of a handler, in any thread: write it first, then answer."""
        # The topic may be off by now, and another follower have its queue.
        follower = self._shown.pop(job, None)
        shown = None if follower is None else follower.shown
        if follower is None or shown is None:
            return
        if shown.data is None:
            self._soon(follower, shown, data)
        elif self._threaded:
            with self._writing:
                follower.write(shown.data)
            self._soon(follower, shown, data)
        else:
            self.finish(self._settle(follower, shown, shown.data, data))

    def _soon(self, follower: Follower, shown: Shown, data: bytes | None) -> None:
        try:
            self._call_soon(follower.handled, shown, data)
        except RuntimeError:
            # The loop has ended: a copy goes to a subscriber again, which has written it.
            LOG.debug("a message was answered after the end")

    async def _settle(
        self, follower: Follower, shown: Shown, written: bytes, data: bytes | None
    ) -> None:
        await self.in_thread(lambda: follower.write(written))
        follower.handled(shown, data)

    @property
    def kept(self) -> int:
        """The number of copies to fetch beyond those that can be handled next."""
        return min(MOST_KEPT, sum(follower.waiting for follower in self._made()))

    async def close(self) -> None:
        """Finish writing what was handled, and end."""
        if self._finishing:
            await asyncio.wait(self._finishing)
        for follower in self._made():
            follower.close()
        tasks = [*self._tasks, self._check, *self._followers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown(wait=False)
        _in_use.difference_update(self._used)

    # What the followers need.

    def hand_on(self, follower: Follower, job: Job) -> None:
        self._shown[job] = follower
        self._hand_on([job])

    def answer(self, job: Job, data: bytes | None) -> None:
        self._answer(job, data)

    def is_calm(self) -> bool:
        # Over all topics: one that fills the window keeps the copies of the others in the
        # job server, and what is read before they come may tell that they are gone.
        return not self._held() and all(follower.is_idle for follower in self._made())

    async def in_thread(self, call: Callable[[], T]) -> T:
        def alone() -> T:
            with self._writing:
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._executor, alone)

    async def read(self, request: messages.Read) -> messages.Backlog:
        return await asking.read(self._caller, self._options.read_function, request)

    async def tell(self, call: Callable[[], object]) -> None:
        try:
            if self._threaded:
                await self.in_thread(call)
            elif inspect.isawaitable(told := call()):
                await told
        except Exception:
            LOG.exception("on_missed failed")

    def start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._start(work, self._tasks)

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        self._start(work, self._finishing)

    def _start(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._on_failed(error)

        task.add_done_callback(ended)
        return task

    def _made(self) -> list[Follower]:
        return [making.result() for making in self._followers.values() if _is_made(making)]

    def _use(self, binding: Binding) -> tuple[int, str, str]:
        return id(self.position), binding.topic, binding.client_id

    async def _make(self, binding: Binding, former: asyncio.Task[None] | None) -> Follower:
        topic, client_id = binding.topic, binding.client_id
        if former is not None:
            await asyncio.wait((former,))
        use = self._use(binding)
        if use in _in_use:
            raise errors.PositionInUse(
                f"another subscriber of this process uses the position of {client_id} for {topic}"
            )
        _in_use.add(use)
        self._used.add(use)
        kept = await self.in_thread(lambda: self.position.read(topic, client_id))
        return Follower(self, binding, kept)

    async def _leave(self, queue: bytes, making: asyncio.Task[Follower]) -> None:
        follower = await asyncio.shield(making)
        self._give_back(follower.leave())
        await follower.left.wait()
        use = self._use(follower.binding)
        self._used.discard(use)
        _in_use.discard(use)
        if self._leaving[queue] is asyncio.current_task():
            del self._leaving[queue]
        self._on_left()

    async def _begin(self, binding: Binding, answer: Subscription | None) -> None:
        queue = binding.queue.encode()
        making = self._followers.get(queue)
        if making is None:
            return
        follower = await asyncio.shield(making)
        if answer is None:
            await follower.unregistered()
        else:
            await follower.registered(answer)
        if self._followers.get(queue) is making:
            self._serve(binding.queue)

    async def _check_often(self) -> None:
        """Ask if the last message of a quiet topic was left out."""
        has_warned = False
        while True:
            await asyncio.sleep(self._options.check_interval)
            by_topic: dict[str, list[Follower]] = {}
            for follower in self._made():
                by_topic.setdefault(follower.binding.topic, []).append(follower)
            try:
                rows = await asking.rows(
                    self._caller, self._options.query_function, sorted(by_topic)
                )
            except errors.GearhornError as error:
                if not has_warned:
                    LOG.warning("no daemon tells how long the journals are: %s", error)
                has_warned = True
                continue
            has_warned = False
            for row in rows:
                for follower in by_topic.get(row.topic, ()):
                    self.start_task(follower.checked(row.journal, row.last))


def _is_made(making: asyncio.Task[Follower]) -> bool:
    return making.done() and not making.cancelled() and making.exception() is None
