# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Questions to job servers: how many clients wait for the end of a job.

GET_STATUS_UNIQUE names a job by its unique. Its answer tells whether there is such a job,
whether it runs, and how many clients have submitted it and are still connected: 0 for a
job that was submitted in the background, and for one whose client has gone. The question
names no function: of two jobs with one unique the server tells of the newer one.

An ECHO_REQ goes first, and the questions when it is answered. What the answers take longer
than the quickest echo is about what they cost the server.
"""

from collections import deque
from collections.abc import Callable, Sequence

from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.pool import Pool
from gearhorn.wire.watch import Watch

_MAX_BYTES = 1024
_ECHO = b"gearhorn-clients"
_ECHOES = 10
"""The number of late echoes of which the quickest counts."""

Counts = Sequence["int | None"]
"""The clients of each running job in question; ``None`` where no such job runs."""


class _Questions:
    """The questions of one connection that are not answered."""

    __slots__ = ("asked_at", "counts", "echoes", "uniques")

    def __init__(self) -> None:
        self.uniques: deque[bytes] = deque()
        self.counts: list[int | None] = []
        self.asked_at = 0.0
        self.echoes: deque[float] = deque(maxlen=_ECHOES)
        """The seconds that late echoes took."""


class ClientCounter(Pool):
    """A pool that asks each job server for the clients of jobs."""

    def __init__(self, settings: ConnectionSettings, watch: Watch) -> None:
        super().__init__(lambda: b"", settings, _MAX_BYTES, watch)
        self._questions: dict[Connection, _Questions] = {}
        self.on_counts: Callable[[Address, Counts, float], None] = lambda server, counts, cost: None
        """Called with the answers to all questions of one :meth:`ask`, and about how many
        seconds they have cost the server."""
        self.on_ready: Callable[[Address], None] = lambda server: None
        """Called when a server can be asked."""
        self.on_gone: Callable[[Address], None] = lambda server: None
        """Called when a server is lost: what was asked is not answered."""

    def ask(self, server: Address, uniques: Sequence[bytes]) -> None:
        """Ask a server that is connected, and whose last answers have come.

        :param uniques: those of the jobs in question.
        """
        connection = self.connections[server]
        questions = self._questions[connection]
        questions.uniques.extend(uniques)
        questions.asked_at = connection.loop.time()
        connection.write(framing.pack(framing.ECHO_REQ, _ECHO))

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        questions = self._questions.get(connection)
        for packet_type, body, _ in packets:
            if questions is not None and packet_type == framing.ECHO_RES and body == _ECHO:
                _send(connection, questions)
            elif questions is None or packet_type != framing.STATUS_RES_UNIQUE:
                self.other_packet(connection, packet_type, body)
            elif not _count_answer(questions, body):
                connection.abort("it answered a question that was not asked")
                return
        if questions is not None and questions.counts and not questions.uniques:
            counts, questions.counts = questions.counts, []
            took = connection.loop.time() - questions.asked_at
            cost = max(0.0, took - min(questions.echoes, default=0.0))
            self.on_counts(connection.server, counts, cost)

    def connection_ready(self, connection: Connection) -> None:
        self._questions[connection] = _Questions()
        self.on_ready(connection.server)

    def connection_gone(self, connection: Connection) -> None:
        del self._questions[connection]
        self.on_gone(connection.server)


def _send(connection: Connection, questions: _Questions) -> None:
    """Send the questions, as the echo before them has come."""
    now = connection.loop.time()
    questions.echoes.append(now - questions.asked_at)
    questions.asked_at = now
    connection.write(
        b"".join([framing.pack(framing.GET_STATUS_UNIQUE, unique) for unique in questions.uniques])
    )
    connection.flush()


def _count_answer(questions: _Questions, body: bytes) -> bool:
    """Take the answer to the first question; return false if it is not one."""
    # Unique, known, running, numerator, denominator, clients.
    fields = body.rsplit(b"\0", 5)
    if len(fields) != 6 or not questions.uniques or fields[0] != questions.uniques.popleft():
        return False
    _, _, running, _, _, clients = fields
    if not clients.isdigit():
        return False
    questions.counts.append(int(clients) if running == b"1" else None)
    return True
