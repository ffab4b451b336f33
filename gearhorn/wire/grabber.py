# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The worker: grabs many jobs ahead and answers them.

A server answers each GRAB_JOB_UNIQ in order, with a job or NO_JOB. With one
grab outstanding a connection does 10,000 jobs a second, with 64 of them
89,000. An idle worker is not to ask 64 times for one job, so at each awakening
the number starts with the jobs that the last awakening brought. It doubles with
each job that comes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter

from gearhorn import clock
from gearhorn.wire import adapter, framing
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.job import Job as Job
from gearhorn.wire.pool import Pool
from gearhorn.wire.watch import Watch
from gearhorn.wire.window import Window

LOG = logging.getLogger(__name__)

MAX_GRABS = 64
_FIRST_GRABS = 2
_GRAB = framing.pack(framing.GRAB_JOB_UNIQ)
_PRE_SLEEP = framing.pack(framing.PRE_SLEEP)
_taken = attrgetter("taken")


class _Grabs:
    """The grabs and jobs of one connection."""

    __slots__ = ("aside", "came", "dry", "held", "outstanding", "paused", "target")

    def __init__(self) -> None:
        self.outstanding = 0
        self.target = _FIRST_GRABS
        self.came = 0
        """The jobs that this awakening has brought."""
        self.dry = False
        """True after NO_JOB: no grab is sent until the server calls."""
        self.paused = False
        """True while no grab is sent until all are answered: see FairGrabber."""
        self.held: dict[Job, None] = {}
        """The jobs that are held in the window, in the order in which they came into it
        and are abandoned."""
        self.aside: dict[Job, None] = {}
        """The jobs that are held outside the window."""


class Grabber(Pool):
    """A pool that grabs jobs while the window has room, and hands them on.

    Functions are added before :meth:`connect`.

    :param client_id: the name that servers show for it.
    :param window: the most jobs that are held or asked for.
    :param window_bytes: about the most bytes of jobs that are held.
    """

    def __init__(
        self,
        client_id: str,
        settings: ConnectionSettings,
        max_bytes: int,
        watch: Watch,
        window: int,
        window_bytes: int,
    ) -> None:
        self._worker = adapter.Worker(client_id)
        super().__init__(self._worker.greeting, settings, max_bytes, watch)
        self.max_grabs = MAX_GRABS
        self._handlers: dict[bytes, Callable[[Job], None]] = {}
        self._grabs: dict[Connection, _Grabs] = {}
        self._window = Window(window, window_bytes)
        self._grabbing = True
        self._resting = False
        """True while it takes no jobs for a time."""
        self._refill_due = False
        self._paused = False
        """True while the connections are not read: see _assigned()."""
        self._aside = 0
        """The number of jobs that are held outside the window."""
        self.on_crowded: Callable[[], None] = lambda: None
        """Called, not only once, while the window has no room for another job."""
        self.idle = asyncio.Event()
        """Set after :meth:`stop_grabbing`, once no job is held and no grab unanswered."""

    def add_function(self, name: str, handler: Callable[[Job], None]) -> None:
        """Register a function. Of several, gearmand serves the last first."""
        function = name.encode()
        self._worker.add_function(function)
        self._handlers[function] = handler

    def stop_grabbing(self) -> None:
        """Ask for no more jobs.

        Functions stay registered: CANT_DO while a job is held requeues it.
        """
        self._grabbing = self._resting = False
        self._tell_if_idle()

    def set_window(self, window: int) -> None:
        """Hold and ask for at most ``window`` jobs from now on."""
        if self._window.resize(window) and self._grabs:
            self._refill_soon(next(iter(self._grabs)))

    async def pause(self) -> None:
        """Give back all jobs in hand, by closing the connections, and take none."""
        self._resting = True
        self._grabbing = False
        closing = tuple(self._grabs)
        for connection in closing:
            connection.renew()
        while True:
            # One that is made meanwhile takes nothing.
            if self._grabs.keys().isdisjoint(closing):
                return
            await asyncio.sleep(0)

    def resume(self) -> None:
        """Take jobs again after :meth:`pause`."""
        if self._resting:
            self._resting = False
            self._grabbing = True
            self.idle.clear()
            for connection in self._grabs:
                self._refill_soon(connection)

    @property
    def held(self) -> int:
        """The number of jobs that are held."""
        return self._window.held + self._aside

    @property
    def crowded(self) -> bool:
        """True while the jobs in the window leave no room for another."""
        return self._window.crowded

    def in_window(self) -> Iterator[Job]:
        """Yield the jobs in the window: of each connection, those first that came first."""
        for grabs in self._grabs.values():
            yield from grabs.held

    @property
    def oldest(self) -> float | None:
        """The time at which the oldest job that is held came, ``None`` if none is."""
        every = (jobs for grabs in self._grabs.values() for jobs in (grabs.held, grabs.aside))
        return min(map(_taken, chain.from_iterable(every)), default=None)

    @property
    def aside(self) -> int:
        """The number of those that are held outside the window."""
        return self._aside

    @property
    def held_bytes(self) -> int:
        """The bytes of the jobs in the window."""
        return self._window.held_bytes

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        grabs = self._grabs.get(connection)
        woken = False
        now = clock.now()
        for packet_type, body, whole in packets:
            if grabs is None:
                self.other_packet(connection, packet_type, body)
            elif packet_type == framing.JOB_ASSIGN_UNIQ:
                if not self._assigned(connection, grabs, body, whole, now):
                    return
            elif packet_type == framing.NO_JOB:
                if not grabs.outstanding:
                    connection.abort("it answered a question that was not asked")
                    return
                self._window.miss()
                grabs.outstanding -= 1
                if not grabs.dry:
                    grabs.dry = True
                    grabs.target = min(max(_FIRST_GRABS, grabs.came), self.max_grabs)
                    grabs.came = 0
                if not grabs.outstanding:
                    # The server calls at once if a job came meanwhile.
                    connection.write(_PRE_SLEEP)
            elif packet_type == framing.NOOP:
                grabs.dry = False
                woken = True
            else:
                self.other_packet(connection, packet_type, body)
        if not self._grabbing:
            self._tell_if_idle()
        elif woken:
            # At once: nothing else is about to be sent that the grabs could go with.
            self._refill()
            connection.flush()
        else:
            self._refill_soon(connection)

    def _assigned(
        self,
        connection: Connection,
        grabs: _Grabs,
        body: bytes,
        whole: bool,
        now: float,
    ) -> bool:
        """Hand on a job; return false if the server may not assign it."""
        if not grabs.outstanding:
            # The window would not hold back jobs that were not asked for.
            connection.abort("it assigned a job that was not asked for")
            return False
        try:
            handle, function, unique, data = body.split(b"\0", 3)
            handler = self._handlers[function]
        except (ValueError, KeyError):
            connection.abort("it assigned a job that no function is for")
            return False
        size = len(data)
        oversize = not whole or size > self.max_bytes
        job = Job(self, connection, handle, function, unique, data, oversize, now)
        self._window.come(size)
        grabs.outstanding -= 1
        grabs.dry = False
        grabs.came += 1
        if grabs.target < self.max_grabs:
            grabs.target = min(grabs.target * 2, self.max_grabs)
        grabs.held[job] = None
        handler(job)
        if self._window.full:
            # 64 grabs may be on their way, which were made when jobs were small.
            self._paused = True
            for each in self._grabs:
                each.pause_reading()
        return True

    def _read_again(self) -> None:
        """Read the connections again if the window has room by now."""
        if self._paused and not self._window.full:
            self._paused = False
            for connection in self._grabs:
                connection.resume_reading()

    def drop_data(self, job: Job) -> None:
        """Hold ``job`` without its data, and make use of the room."""
        grabs = self._grabs.get(job.connection)
        if grabs is not None and job in grabs.held:
            self._window.shrink(len(job.data))
            job.data = b""
            self._use_room(job)

    def set_aside(self, job: Job) -> None:
        """Hold ``job`` outside the window, and make use of its place."""
        grabs = self._grabs.get(job.connection)
        if grabs is not None and job in grabs.held:
            del grabs.held[job]
            grabs.aside[job] = None
            self._aside += 1
            self._window.release(len(job.data))
            self._use_room(job)

    def take_up(self, job: Job) -> None:
        """Hold ``job``, which was set aside, in the window again, even beyond its room."""
        grabs = self._grabs.get(job.connection)
        if grabs is not None and job in grabs.aside:
            del grabs.aside[job]
            grabs.held[job] = None
            self._aside -= 1
            self._window.take_up(len(job.data))

    def release(self, job: Job) -> bool:
        """Stop holding ``job``; return true if it was held and can be answered."""
        grabs = self._grabs.get(job.connection)
        if grabs is None:
            return False
        if job in grabs.held:
            del grabs.held[job]
            self._window.release(len(job.data))
        elif job in grabs.aside:
            del grabs.aside[job]
            self._aside -= 1
        else:
            return False
        job.let_go()
        if self._paused:
            self._read_again()
        if self._grabbing:
            self._refill_soon(job.connection)
        else:
            self._tell_if_idle()
        return True

    def _use_room(self, job: Job) -> None:
        self._read_again()
        if self._grabbing:
            self._refill_soon(job.connection)

    def _tell_if_idle(self) -> None:
        if self._window.idle and not self._aside:
            self.idle.set()

    def _refill_soon(self, connection: Connection) -> None:
        if not self._refill_due:
            self._refill_due = True
            connection.loop.call_soon(self._refill)

    def _refill(self) -> None:
        self._refill_due = False
        if not self._grabbing:
            return
        first: Connection | None = None
        for connection, grabs in self._grabs.items():
            if not grabs.dry and not grabs.paused and not connection.congested:
                wanted = min(grabs.target - grabs.outstanding, self._window.room())
                if wanted > 0:
                    grabs.outstanding += wanted
                    self._window.ask(wanted)
                    connection.write(_GRAB * wanted)
                    first = first or connection
        if first is not None:
            # The connections take turns: one alone could fill a small window.
            self._grabs[first] = self._grabs.pop(first)
        if self._window.crowded:
            self.on_crowded()

    def writable(self, connection: Connection) -> None:
        self._refill_soon(connection)

    def connection_ready(self, connection: Connection) -> None:
        self._grabs[connection] = _Grabs()
        self._refill_soon(connection)

    def connection_gone(self, connection: Connection) -> None:
        grabs = self._grabs.pop(connection)
        self._window.miss(grabs.outstanding)
        self._aside -= len(grabs.aside)
        for job in grabs.aside:
            job.abandon()
        for job in grabs.held:
            self._window.release(len(job.data))
            job.abandon()
        self._read_again()
        if not self._grabbing:
            self._tell_if_idle()
        elif self._grabs:
            self._refill_soon(next(iter(self._grabs)))
