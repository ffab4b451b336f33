# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The worker on the loop: grabs many jobs ahead and answers them.

A server answers each GRAB_JOB_UNIQ in order, with a job or NO_JOB. With one
grab outstanding a connection does 10,000 jobs a second, with 64 of them
89,000. So that an idle worker does not ask 64 times for one job, the number
starts at each awakening with what the one before brought, and doubles with
each job that comes.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import gear
import msgspec
from gear import constants

from gearhorn.wire import framing
from gearhorn.wire.client import Connection, LoopClient
from gearhorn.wire.servers import Settings, Watch

LOG = logging.getLogger(__name__)

MAX_GRABS = 64
_FIRST_GRABS = 2
_GRAB = framing.pack(constants.GRAB_JOB_UNIQ)
_PRE_SLEEP = framing.pack(constants.PRE_SLEEP)


class Job(msgspec.Struct, eq=False):
    """A job that a server assigned, bound to the connection it came on.

    Every job is to be answered once, by :meth:`complete` or :meth:`fail`. The
    answer of one whose connection is lost goes nowhere: the server gives the
    job to a worker again.
    """

    _grabber: "Grabber"
    connection: Connection
    handle: bytes
    function: bytes
    unique: bytes
    data: bytes
    oversize: bool
    """The data is only a part of what was sent: it was too large."""
    on_abandoned: Callable[[], object] | None = None
    """Called if the connection is lost before the answer."""

    def complete(self, data: bytes) -> None:
        """End the job with WORK_COMPLETE."""
        if self._grabber.release(self):
            handle = self.handle
            self.connection.write(
                framing.header(constants.WORK_COMPLETE, len(handle) + 1 + len(data))
                + handle
                + b"\0"
                + data
            )

    def fail(self, data: bytes | None = None) -> None:
        """End the job with WORK_FAIL, after a WORK_WARNING that carries the data."""
        if self._grabber.release(self):
            if data is not None:
                self.connection.write(framing.pack(constants.WORK_WARNING, self.handle, data))
            self.connection.write(framing.pack(constants.WORK_FAIL, self.handle))

    def progress(self, done: int, total: int) -> None:
        """Send WORK_STATUS, if the server reads what it is sent."""
        if not self.connection.congested:
            self.connection.write(
                framing.pack(
                    constants.WORK_STATUS,
                    self.handle,
                    b"%d" % done,
                    b"%d" % total,
                )
            )


class _Grabs:
    """What a connection has asked for."""

    __slots__ = ("came", "dry", "held", "outstanding", "paused", "target")

    def __init__(self) -> None:
        self.outstanding = 0
        self.target = _FIRST_GRABS
        self.came = 0
        """How many jobs this awakening has brought."""
        self.dry = False
        """The last answer was NO_JOB: ask no more until the server calls."""
        self.paused = False
        """Ask no more until what was asked for is answered: see FairGrabber."""
        self.held: dict[Job, None] = {}
        """In the order in which they came, which is that in which they are abandoned."""


class Grabber(LoopClient, gear.Worker):
    """Grabs jobs while fewer than ``window`` are held, and hands them on.

    Functions are added before :meth:`connect`.

    :param window: how many jobs are held or asked for at the most.
    :param window_bytes: how many bytes of jobs are held at about the most.
    """

    def __init__(
        self,
        client_id: str,
        settings: Settings,
        max_bytes: int,
        watch: Watch,
        window: int,
        window_bytes: int,
    ) -> None:
        super().__init__(client_id, settings, max_bytes, watch)
        self.max_grabs = MAX_GRABS
        self._handlers: dict[bytes, Callable[[Job], None]] = {}
        self._grabs: dict[Connection, _Grabs] = {}
        self._window = window
        self._window_bytes = window_bytes
        self._held = 0
        self._held_bytes = 0
        self._outstanding = 0
        self._job_bytes = 1
        """The size to reckon with in a job that is asked for: that of the
        largest of late, fading."""
        self._grabbing = True
        self._refill_due = False
        self.idle = asyncio.Event()
        """Set after :meth:`stop_grabbing`, once no job is held and no grab unanswered."""

    def add_function(self, name: str, handler: Callable[[Job], None]) -> None:
        """Do ``name`` by ``handler``; of several, the last is served first."""
        binary = name.encode()
        self.functions[binary] = gear.FunctionRecord(binary)
        self._handlers[binary] = handler

    def stop_grabbing(self) -> None:
        """Ask for no more jobs.

        Functions stay registered: CANT_DO while a job is held requeues it.
        """
        self._grabbing = False
        self._tell_if_idle()

    @property
    def held(self) -> int:
        """How many jobs are held."""
        return self._held

    def packets_received(
        self, connection: Connection, packets: Sequence[tuple[int, bytes]]
    ) -> None:
        grabs = self._grabs.get(connection)
        woken = False
        for packet_type, body in packets:
            if grabs is None:
                self.other_packet(connection, packet_type, body)
            elif packet_type == constants.JOB_ASSIGN_UNIQ:
                if not self._assigned(connection, grabs, body, False):
                    return
            elif packet_type == constants.NO_JOB:
                if not grabs.outstanding:
                    connection.abort("it answered a question that was not asked")
                    return
                self._outstanding -= 1
                grabs.outstanding -= 1
                if not grabs.dry:
                    grabs.dry = True
                    grabs.target = min(max(_FIRST_GRABS, grabs.came), self.max_grabs)
                    grabs.came = 0
                if not grabs.outstanding:
                    # The server calls at once if a job came meanwhile.
                    connection.write(_PRE_SLEEP)
            elif packet_type == constants.NOOP:
                grabs.dry = False
                woken = True
            elif packet_type == constants.JOB_ASSIGN_UNIQ | framing.OVERSIZE:
                if not self._assigned(connection, grabs, body, True):
                    return
            else:
                self.other_packet(connection, packet_type, body)
        if not self._grabbing:
            self._tell_if_idle()
        elif woken:
            # Nothing else is on its way that the grabs could go with.
            self._refill()
            connection.flush()
        else:
            self._refill_soon(connection)

    def _assigned(
        self,
        connection: Connection,
        grabs: _Grabs,
        body: bytes,
        oversize: bool,
    ) -> bool:
        """Hand on a job; false if the server has no right to assign it."""
        if not grabs.outstanding:
            # More than what was asked for would not be held back by the window.
            connection.abort("it assigned a job that was not asked for")
            return False
        try:
            handle, function, unique, data = body.split(b"\0", 3)
            handler = self._handlers[function]
        except (ValueError, KeyError):
            connection.abort("it assigned a job that no function is for")
            return False
        size = len(data)
        oversize = oversize or size > self.max_bytes
        job = Job(self, connection, handle, function, unique, data, oversize)
        self._outstanding -= 1
        grabs.outstanding -= 1
        grabs.dry = False
        grabs.came += 1
        if grabs.target < self.max_grabs:
            grabs.target = min(grabs.target * 2, self.max_grabs)
        grabs.held[job] = None
        self._held += 1
        self._held_bytes += size
        faded = self._job_bytes * 7 // 8
        self._job_bytes = size if size > faded else faded or 1
        handler(job)
        return True

    def release(self, job: Job) -> bool:
        """Hold ``job`` no longer; whether it was held and can be answered."""
        grabs = self._grabs.get(job.connection)
        if grabs is None or job not in grabs.held:
            return False
        del grabs.held[job]
        # Or job and callback would hold each other, and the message, until
        # Python looks for such circles.
        job.on_abandoned = None
        self._held -= 1
        self._held_bytes -= len(job.data)
        if self._grabbing:
            self._refill_soon(job.connection)
        else:
            self._tell_if_idle()
        return True

    def _tell_if_idle(self) -> None:
        if not self._held and not self._outstanding:
            self.idle.set()

    def _refill_soon(self, connection: Connection) -> None:
        if not self._refill_due:
            self._refill_due = True
            connection.loop.call_soon(self._refill)

    def _refill(self) -> None:
        self._refill_due = False
        if not self._grabbing:
            return
        if len(self._grabs) > 1:
            # The next server first, or a small window would be the first's.
            connection = next(iter(self._grabs))
            self._grabs[connection] = self._grabs.pop(connection)
        for connection, grabs in self._grabs.items():
            if not grabs.dry and not grabs.paused and not connection.congested:
                wanted = min(grabs.target - grabs.outstanding, self._room())
                if wanted > 0:
                    grabs.outstanding += wanted
                    self._outstanding += wanted
                    connection.write(_GRAB * wanted)

    def _room(self) -> int:
        """How many more jobs the window has room for."""
        room = self._window - self._held - self._outstanding
        room_bytes = self._window_bytes - self._held_bytes
        # One job always fits, or one that is larger than the window would be the last.
        alone = not self._held and not self._outstanding
        return min(room, max(room_bytes // self._job_bytes - self._outstanding, alone))

    def writable(self, connection: Connection) -> None:
        self._refill_soon(connection)

    def _onActiveConnection(self, conn: Connection) -> None:
        self._grabs[conn] = _Grabs()
        self._refill_soon(conn)

    def _lostConnection(self, conn: Connection) -> None:
        grabs = self._grabs.pop(conn)
        self._outstanding -= grabs.outstanding
        self._held -= len(grabs.held)
        for job in grabs.held:
            self._held_bytes -= len(job.data)
            if job.on_abandoned is not None:
                job.on_abandoned()
                job.on_abandoned = None
        if not self._grabbing:
            self._tell_if_idle()
        elif self._grabs:
            self._refill_soon(next(iter(self._grabs)))
