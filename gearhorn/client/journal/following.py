# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One queue of a subscriber with a position: what its order says is done here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from gearhorn import errors, messages
from gearhorn.client.binding import Binding
from gearhorn.client.journal.actions import Answer, Read, Show, Tell, Wait
from gearhorn.client.journal.file_position import Position
from gearhorn.client.journal.order import Order
from gearhorn.client.numbers import number_of
from gearhorn.messages import Start, Subscription
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection
from gearhorn.wire.job import Job, Keeper

LOG = logging.getLogger(__name__)

T = TypeVar("T")

WAIT_S = 0.05
"""Seconds for which a missing copy is waited for, and the queue goes before the journal."""
RETRY_S = 2.0
"""Seconds until a journal is read again that could not be."""


class Missed(NamedTuple):
    """Messages that are gone before a subscriber with a position could see them.

    ``why`` is ``"trimmed"`` where the journal's limits ended them, and ``"gap"`` where the
    store may have lost them. Where both may be, each is told, with the same numbers.
    """

    topic: str
    client_id: str
    journal: str
    first: int
    last: int
    why: str


class _Always:
    """In place of the connection of a copy: what has a position is nobody else's."""

    connected = True

    def __init__(self, server: Address | None = None) -> None:
        self.server = server
        """From which the copy came; a letter of one without a unique is named by it."""


_ALWAYS = cast(Connection, _Always())


class Surroundings(Protocol):
    """What a follower needs of the subscriber's positions."""

    position: Position
    on_missed: Callable[[Missed], object] | None

    def hand_on(self, follower: "Follower", job: Job) -> None:
        """Give a message of a follower to the handlers."""

    def answer(self, job: Job, data: bytes | None) -> None:
        """Answer a copy."""

    def is_calm(self) -> bool:
        """Return true if no copy is in hand."""

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Call what may block."""

    async def read(self, request: messages.Read) -> messages.Backlog:
        """Read a journal."""

    async def tell(self, call: Callable[[], object]) -> None:
        """Call what the program has given."""

    def start_task(self, work: Coroutine[Any, Any, None]) -> object:
        """Do something in the background that must not fail."""

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the same, and let the subscriber not end before."""


class Shown(NamedTuple):
    """A message in the hands of a handler, as a job of its own.

    :param data: what is written once it is handled; ``None`` for nothing.
    """

    show: Show
    job: Job
    data: bytes | None


class Follower:
    """One queue of a subscriber with a position. All of it runs in the event loop.

    :param kept: what was written of its position.
    :raises PositionUnreadable: that cannot be read.
    """

    def __init__(self, around: Surroundings, binding: Binding, kept: bytes | None) -> None:
        self.binding = binding
        self._around = around
        self._order = Order(kept)
        self.shown: Shown | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._is_leaving = False
        self.left = asyncio.Event()
        """Set after :meth:`leave`, once what was in hand is handled and written."""
        self._has_warned = False

    @property
    def waiting(self) -> int:
        """The number of copies that are kept behind a missing one."""
        return self._order.waiting

    @property
    def is_idle(self) -> bool:
        """True if no copy is kept or shown."""
        return self._order.is_idle

    def close(self) -> None:
        """Do nothing more. What is not answered goes to a subscriber again."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def leave(self) -> list[Job]:
        """Begin nothing more, and finish what is in hand. Return the other copies, once."""
        self._is_leaving = True
        if self._timer is not None:
            self._timer.cancel()
        self._act()
        return self._order.give_up()

    async def registered(self, answer: Subscription) -> None:
        """Begin where nothing is written, as the registration says. Nothing was fetched yet."""
        if isinstance(answer.sequence, int):
            await self.told(answer.journal or None, answer.sequence)
        else:
            # A daemon of a release before, perhaps: what is read says more.
            self._act()

    async def unregistered(self) -> None:
        """The same, where nothing is registered: ask where the journal is."""
        request = messages.Read(topic=self.binding.topic, after=messages.MAX_SEQUENCE, limit=1)
        while not self._order.has_begun and not self._is_leaving:
            try:
                found = await self._around.read(request)
            except errors.NoJournal:
                return
            except errors.GearhornError as error:
                await self._pause(error)
                continue
            await self.told(found.journal, found.last)
        self._act()

    async def told(self, journal: str | None, last: int) -> None:
        """Take what a daemon has told of today's journal."""
        await self._told(journal, last, self._order.told)

    async def checked(self, journal: str | None, last: int) -> None:
        """Take the same, every ``check_interval``."""
        await self._told(journal, last, self._order.checked)

    async def _told(
        self, journal: str | None, last: int, tell: Callable[[str | None, int], None]
    ) -> None:
        order = self._order
        if self._is_leaving:
            # The position may be that of the next follower by now.
            return
        if not order.has_begun:
            order.begin(journal, _beginning(self.binding.begins, journal, last))
            await self._write()
        tell(journal, last)
        self._act()

    def came(self, job: Job) -> None:
        """Take a copy from the queue."""
        self._order.came(job, number_of(job.unique))
        self._act()

    def handled(self, shown: Shown, data: bytes | None) -> None:
        """Answer a message whose handler has ended, which is written.

        :param data: the result, or ``None`` if it failed.
        """
        if shown is not self.shown or self._is_closed:
            return
        self.shown = None
        if shown.show.copy is not None:
            self._around.answer(shown.show.copy, data)
        self._order.handled(failed=data is None)
        self._act()

    def write(self, data: bytes) -> None:
        """Write a position, in any thread."""
        self._around.position.write(self.binding.topic, self.binding.client_id, data)

    async def _write(self) -> None:
        data = self._order.data()
        await self._around.in_thread(lambda: self.write(data))

    def _act(self) -> None:
        if self._is_leaving:
            if not self._order.is_in_hand:
                self.left.set()
            return
        while not self._is_closed and (action := self._order.next()) is not None:
            match action:
                case Answer():
                    self._around.answer(action.copy, None if action.failed else b"")
                case Show():
                    self._show(action)
                case Read():
                    self._around.start_task(self._read(action))
                case Wait():
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(WAIT_S, self._waited)
                case Tell():
                    self._around.finish(self._tell(action))

    def _show(self, show: Show) -> None:
        copy: Job | None = show.copy
        if copy is None:
            assert show.number is not None
            assert show.read is not None
            unique = b"j.%s.%d.1" % (show.number.journal.encode(), show.number.sequence)
            handle, data = b"", show.read.payload_bytes()
        elif show.number is None and not copy.connection.connected:
            # It comes again.
            self._order.handled()
            return
        else:
            unique, handle, data = copy.unique, copy.handle, copy.data
        queue = self.binding.queue.encode()
        connection = _ALWAYS
        if copy is not None:
            connection = cast(Connection, _Always(copy.connection.server))
        job = Job(cast(Keeper, self), connection, handle, queue, unique, data, False)
        number = show.number
        written = self._order.data(number) if self._order.moves(number) else None
        self.shown = Shown(show, job, written)
        self._around.hand_on(self, job)

    def _waited(self) -> None:
        self._order.waited(calm=self._around.is_calm())
        self._act()

    async def _read(self, read: Read) -> None:
        request = messages.Read(
            topic=self.binding.topic, after=read.after, journal=read.journal, limit=read.limit
        )
        try:
            found = await self._around.read(request)
        except errors.NoJournal:
            LOG.warning(
                "%s has no journal any more: %s sees what comes, as it comes",
                self.binding.topic,
                self.binding.client_id,
            )
            self._order.no_journal()
        except errors.GearhornError as error:
            await self._pause(error)
            self._order.unread()
        else:
            self._has_warned = False
            self._order.answered(found)
        self._act()

    async def _pause(self, error: errors.GearhornError) -> None:
        if not self._has_warned:
            self._has_warned = True
            LOG.warning("the journal of %s is not read yet: %s", self.binding.topic, error)
        await asyncio.sleep(RETRY_S)

    async def _tell(self, tell: Tell) -> None:
        missed = Missed(self.binding.topic, self.binding.client_id, *tell)
        on_missed = self._around.on_missed
        if on_missed is None:
            LOG.warning(
                "%s missed the messages %d to %d of %s, journal %s: %s",
                missed.client_id,
                missed.first,
                missed.last,
                missed.topic,
                missed.journal,
                missed.why,
            )
        else:
            await self._around.tell(lambda: on_missed(missed))
        await self._write()
        self._order.passed()
        self._act()


def _beginning(start: Start, journal: str | None, last: int) -> int:
    """Return the position at which a subscriber begins that has none."""
    if start.word == messages.NEW:
        return last
    if start.word == messages.LAST:
        return max(last - 1, 0)
    if start.word == messages.FIRST or start.journal != journal:
        return 0
    return min(start.after, last)


OnMissed = Callable[[Missed], object] | Callable[[Missed], Awaitable[object]]
