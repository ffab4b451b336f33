# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A worker for functions that come and go, and that get their turns fairly.

Of one connection's functions gearmand 1.1.20 serves the last registered first, as long as
that one has jobs. So after a connection has been busy for a while, functions are
taken back (CANT_DO) and registered again, those with the fewest jobs last, to be
served first. Each busy function has its turn, and a quiet one waits no longer than
that. NO_JOB says that every function is empty: nobody has been starved.

gearmand 2.0.0, and 1.1.20 with --round-robin, serve the functions in turn by themselves,
and nothing is to be moved. The server is tried before the first turn
(:mod:`gearhorn.wire.probes`), as its version does not tell. Most connections are never
busy for so long, and their servers are not tried.

CANT_DO requeues the jobs of its function that the connection holds, and those on
their way to it. So functions are moved only when every grab has been answered, and
not while their jobs are held. The pause is one round trip. (Rejected: a connection
for each function, of which a gateway has thousands; CAN_DO alone, which registers a
function twice.)

Where they are many they are dealt out to several connections (:mod:`gearhorn.wire.shares`).
The functions of each take turns, and so do the connections.
"""

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from gearhorn import errors
from gearhorn.wire import framing, grabber, probes
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.grabber import Grabber, Job
from gearhorn.wire.shares import Shares
from gearhorn.wire.turn import Turn
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

MAX_GRABS = 256
"""More than a daemon's grabs: while a thread handles jobs, the loop cannot ask for
more (Python runs one thread at a time), and grabs should not run out."""
MANY_FUNCTIONS = 1_000
"""With more functions of one connection, grabs are as many as a daemon's: for each one in
vain gearmand walks through all of them."""
TURN_S = 0.05
"""The seconds that a busy function may keep the others waiting."""
MAX_MOVED = 100
"""The most functions that one turn moves; the next turn moves the next ones. Each
costs gearmand a walk through all functions of the connection."""

_TRY_S = 1.0
"""The seconds in which a server is to have been tried. Until then no turns are taken, and
after that they are."""
_SYNCHRONIZE = b"gearhorn-synchronize"


class FairGrabber(Grabber):
    """A grabber for functions that come and go, which hands on many jobs at once.

    :param on_jobs: called after each read of a socket, with the jobs that it
        brought, if any.
    """

    def __init__(
        self,
        client_id: str,
        settings: ConnectionSettings,
        max_bytes: int,
        watch: Watch,
        window: int,
        window_bytes: int,
        on_jobs: Callable[[list[Job]], None],
    ) -> None:
        super().__init__(client_id, settings, max_bytes, watch, window, window_bytes)
        self.max_grabs = MAX_GRABS
        self._on_jobs = on_jobs
        self._arrived: list[Job] = []
        self._wanted: dict[bytes, None] = {}
        self._shares = Shares()
        self._connected_shares = 0
        self._synchronized: dict[Connection, asyncio.Future[None]] = {}
        self.settled = asyncio.Event()
        """Set after :meth:`stop_grabbing`, once no more jobs can come."""
        self._turns: dict[Connection, Turn] = {}

    def stop_grabbing(self) -> None:
        super().stop_grabbing()
        self._tell_if_settled()

    def _tell_if_settled(self) -> None:
        if not self._grabbing and not self._window.asked:
            self.settled.set()

    def connect(self, servers: Sequence[Address]) -> None:
        super().connect(servers)
        self._connected_shares = 1
        self._connect_shares()

    def _connect_shares(self) -> None:
        # A share that has become empty keeps its connections: the next functions are put there.
        while 0 < self._connected_shares < len(self._shares):
            self._connect_share(self._connected_shares)
            self._connected_shares += 1

    def serve(self, name: str) -> None:
        """Take jobs of the function ``name`` from now on, on one connection to each server."""
        function = name.encode()
        # Not through the adapter: gear would announce each with a packet object.
        self._handlers[function] = self._arrived.append
        self._wanted[function] = None
        share = self._shares.add(function)
        self._connect_shares()
        self._limit_grabs()
        for connection, turn in self._turns.items():
            if connection.share != share:
                continue
            if function in turn.leaving:
                turn.leaving.remove(function)
            elif function not in turn.functions:
                turn.functions[function] = None
                connection.write(framing.pack(framing.CAN_DO, function))
                # The server calls when a job comes, not for those that wait already.
                self._grabs[connection].dry = False
                self._refill_soon(connection)

    def leave(self, name: str) -> None:
        """Stop taking jobs of the function ``name``, once none of them is held."""
        function = name.encode()
        self._wanted.pop(function, None)
        for connection, turn in self._turns.items():
            if function in turn.functions:
                turn.leaving.add(function)
                self._pause(connection)
        self._forget(function)

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Have the servers queue these jobs again, once no other of their functions is held.

        gear.Server does so only when the connection ends.
        """
        for job in jobs:
            turn = self._turns.get(job.connection)
            if turn is not None and self.release(job):
                turn.returned.add(job.function)
                self._pause(job.connection)

    def _limit_grabs(self) -> None:
        has_many = self._shares.largest > MANY_FUNCTIONS
        self.max_grabs = grabber.MAX_GRABS if has_many else MAX_GRABS

    def answer(self, answers: "deque[tuple[Job, bytes | None]]") -> None:
        """End each of these jobs with its result, or with WORK_FAIL if that is ``None``.

        This costs half as much as Job.complete() and Job.fail(). Other threads may
        add to the queue meanwhile.
        """
        header = framing.header
        connection: Connection | None = None
        held: dict[Job, None] = {}
        parts: list[bytes] = []
        released = size_released = 0
        while answers:
            job, data = answers.popleft()
            if job.connection is not connection:
                if connection is not None and parts:
                    connection.write(b"".join(parts))
                connection = job.connection
                grabs = self._grabs.get(connection)
                held = {} if grabs is None else grabs.held
                parts = []
            try:
                del held[job]
            except KeyError:
                continue
            released += 1
            size_released += len(job.data)
            handle = job.handle
            if data is None:
                parts += (header(framing.WORK_FAIL, len(handle)), handle)
            else:
                size = len(handle) + 1 + len(data)
                parts += (header(framing.WORK_COMPLETE, size), handle, b"\0", data)
        self._window.release(size_released, released)
        if connection is not None and parts:
            connection.write(b"".join(parts))
            self._read_again()
            self._refill_soon(connection)
            self._tell_if_idle()

    @property
    def asks(self) -> bool:
        """True while a server has still to answer a grab."""
        return self._window.asked > 0

    @property
    def leaving(self) -> bool:
        """True while functions wait to be left until their jobs are answered."""
        return any(turn.has_to_go for turn in self._turns.values())

    def retry_leaving(self) -> None:
        """Leave the functions whose jobs are answered by now."""
        for connection, turn in self._turns.items():
            if turn.has_to_go:
                self._pause(connection)

    async def synchronize(self, timeout: float) -> None:
        """Return when the servers have read all that was sent before.

        A connection that is closed while it has data to read is reset, and answers
        that the server has not read yet can be lost.

        :param timeout: the longest wait, in seconds.
        """
        waiting: list[asyncio.Future[None]] = []
        for connection in self._grabs:
            future: asyncio.Future[None] = connection.loop.create_future()
            self._synchronized[connection] = future
            # gear.Server does not answer ECHO_REQ.
            connection.write(framing.pack(framing.GET_STATUS, _SYNCHRONIZE))
            waiting.append(future)
        if waiting:
            await asyncio.wait(waiting, timeout=timeout)

    def other_packet(self, connection: Connection, packet_type: int, body: bytes) -> None:
        if packet_type == framing.STATUS_RES and body.startswith(_SYNCHRONIZE):
            self._tell_synchronized(connection)
        else:
            super().other_packet(connection, packet_type, body)

    def _tell_synchronized(self, connection: Connection) -> None:
        future = self._synchronized.pop(connection, None)
        if future is not None and not future.done():
            future.set_result(None)

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        super().packets_received(connection, packets)
        jobs = self._arrived[:]
        self._arrived.clear()
        grabs = self._grabs.get(connection)
        if grabs is not None:
            turn = self._turns[connection]
            if grabs.dry:
                turn.end()
            elif jobs and len(turn.functions) > 1 and turn.needed is not False:
                turn.served.update([job.function for job in jobs])
                now = connection.loop.time()
                if not turn.since:
                    turn.since = now
                elif now - turn.since > TURN_S:
                    self._end_turn(connection, turn)
        self._on_jobs(jobs)
        self._tell_if_settled()

    def _end_turn(self, connection: Connection, turn: Turn) -> None:
        if turn.needed:
            self._pause(connection)
        elif not turn.tried:
            # Once for all connections that the server has now. It may be another after a loss.
            turns = [t for c, t in self._turns.items() if c.server == connection.server]
            for each in turns:
                each.tried = True
            self._tasks.start(self._try_server(connection.server, turns))

    async def _try_server(self, server: Address, turns: Sequence[Turn]) -> None:
        timeout = min(_TRY_S, self.settings.connect_timeout)
        settings = dataclasses.replace(self.settings, connect_timeout=timeout)
        try:
            needed = not await probes.takes_turns(server, settings)
        except errors.ServerLost as error:
            LOG.debug("taking turns, as %s could not be tried: %s", server, error)
            needed = True
        for turn in turns:
            turn.needed = needed
            if not needed:
                turn.end()

    def _pause(self, connection: Connection) -> None:
        self._grabs[connection].paused = True
        self._refill_soon(connection)

    def _refill(self) -> None:
        for connection, grabs in self._grabs.items():
            if grabs.paused and not grabs.outstanding and self._grabbing:
                held = {job.function for job in grabs.held}
                self._take_turn(connection, self._turns[connection], held)
                grabs.paused = False
                # A job may have come while its function was taken back.
                grabs.dry = False
        super()._refill()

    def _take_turn(self, connection: Connection, turn: Turn, held: set[bytes]) -> None:
        """Put first the functions that had the fewest jobs, and leave those to be left.

        :param held: the functions whose jobs are held.
        """
        packets: list[bytes] = []
        for function in turn.returned - turn.leaving - held:
            packets += _again(function)
        turn.returned &= held
        for function in turn.leaving - held:
            packets.append(framing.pack(framing.CANT_DO, function))
            turn.leaving.remove(function)
            del turn.functions[function]
            self._forget(function)
        if turn.needed:
            turn.next(connection.loop.time())
            for function in reversed(turn.move(held, MAX_MOVED)):
                packets += _again(function)
        if packets:
            connection.write(b"".join(packets))

    def _forget(self, function: bytes) -> None:
        if function not in self._wanted and not any(
            function in turn.functions for turn in self._turns.values()
        ):
            self._handlers.pop(function, None)
            self._shares.remove(function)
            self._limit_grabs()

    def connection_ready(self, connection: Connection) -> None:
        share = connection.share
        functions = [name for name in self._wanted if self._shares.of(name) == share]
        self._turns[connection] = Turn(functions)
        connection.write(b"".join([framing.pack(framing.CAN_DO, name) for name in functions]))
        super().connection_ready(connection)

    def connection_gone(self, connection: Connection) -> None:
        turn = self._turns.pop(connection)
        super().connection_gone(connection)
        self._tell_synchronized(connection)
        for function in turn.leaving:
            self._forget(function)
        self._tell_if_settled()


def _again(function: bytes) -> list[bytes]:
    """Return the packets with which a function is taken back and put first."""
    return [framing.pack(framing.CANT_DO, function), framing.pack(framing.CAN_DO, function)]
