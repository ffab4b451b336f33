# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of the gear library that gearhorn uses, and overrides.

====================================  =========================================
gear                                  here
====================================  =========================================
``gear.constants``                    packet types and magic codes (framing)
``gear.Worker``, ``FunctionRecord``   the registry of functions, and the
                                      packets that announce it: :class:`Worker`
``gear.Client``                       the options of a client, and the packets
                                      that ask for them: :class:`Client`
``gear.Connection``, ``gear.Packet``  take these packets
``gear.Server``                       the job server of the standalone mode
                                      (:mod:`gearhorn.wire.server`)
====================================  =========================================

Not used: gear's sockets (no TCP_NODELAY, one blocking connect for all servers),
its poll and connect threads, and its objects for each packet and job, which
manage 15,000 packets a second and are formatted for the log one by one.
"""

import os
from collections.abc import Iterable

from gearhorn.wire.gear_import import gear


class _Recorder(gear.Connection):
    """A connection that keeps the packets sent on it."""

    def __init__(self) -> None:
        super().__init__("", 0)
        self.sent: list[bytes] = []

    def changeState(self, state: str) -> None:
        """Keep the state, and log nothing: there is one for each greeting."""
        self.state = state

    def sendPacket(self, packet: gear.Packet) -> None:
        self.sent.append(bytes(packet.toBinary()))


class _Threadless(gear.BaseClient):
    """A client or worker of gear without threads: the event loop reads and connects."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id)
        # gear has started two threads, which return at once, and made a pipe to wake one.
        self.poll_thread.join()
        self.connect_thread.join()
        os.close(self.wake_read)
        os.close(self.wake_write)

    def _doPollLoop(self) -> None:
        """Return at once: the event loop reads."""

    def _doConnectLoop(self) -> None:
        """Return at once: the event loop connects."""

    def greeting(self) -> bytes:
        """Return the packets that each new connection sends first."""
        recorder = _Recorder()
        self._onConnect(recorder)
        return b"".join(recorder.sent)


class Worker(_Threadless, gear.Worker):
    """The name and the functions of a worker.

    :param client_id: the name that servers show for it.
    """

    def add_function(self, name: bytes) -> None:
        """Announce ``name`` on each new connection.

        ``registerFunction()`` would tell gear's own connections.
        """
        self.functions[name] = gear.FunctionRecord(name)


class Client(_Threadless, gear.Client):
    """The options of a client.

    :param client_id: the name in gear's log; servers are not told.
    :param options: set on each connection.
    """

    def __init__(self, client_id: str, options: Iterable[bytes]) -> None:
        super().__init__(client_id)
        self.options.update(options)
