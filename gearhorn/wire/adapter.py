# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What of the gear library is used, and all that is overridden of it.

====================================  =========================================
gear                                  here
====================================  =========================================
``gear.constants``                    packet types and magic codes (framing)
``gear.Worker``, ``FunctionRecord``   the registry of functions, and the
                                      packets that announce it: :class:`Worker`
``gear.Client``                       the options of a client, and the packets
                                      that ask for them: :class:`Client`
``gear.Connection``, ``gear.Packet``  what these packets are written to
``gear.Server``                       the job server of the standalone mode
                                      (:mod:`gearhorn.wire.server`)
====================================  =========================================

Not used: gear's sockets (no TCP_NODELAY, one blocking connect for all servers),
its poll and connect threads, and its objects for each packet and job, which
manage 15,000 packets a second and are formatted for the log one by one.
"""

import os
from collections.abc import Iterable

import gear


class _Recorder(gear.Connection):
    """A connection that keeps what is sent on it."""

    def __init__(self) -> None:
        super().__init__("", 0)
        self.sent: list[bytes] = []

    def sendPacket(self, packet: gear.Packet) -> None:
        self.sent.append(bytes(packet.toBinary()))


class _Threadless(gear.BaseClient):
    """Neither reads nor connects: that is the event loop's."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id)
        # gear starts two threads, which return at once, and a pipe to wake one of them.
        self.poll_thread.join()
        self.connect_thread.join()
        os.close(self.wake_read)
        os.close(self.wake_write)

    def _doPollLoop(self) -> None:
        """No thread of gear's reads."""

    def _doConnectLoop(self) -> None:
        """No thread of gear's connects."""

    def greeting(self) -> bytes:
        """The packets with which each new connection begins."""
        recorder = _Recorder()
        self._onConnect(recorder)
        return b"".join(recorder.sent)


class Worker(_Threadless, gear.Worker):
    """A worker's name and functions.

    :param client_id: what servers show it as.
    """

    def add_function(self, name: bytes) -> None:
        """Announce ``name`` from the next connection on.

        Not by ``registerFunction()``, which tells the connections that gear has.
        """
        self.functions[name] = gear.FunctionRecord(name)


class Client(_Threadless, gear.Client):
    """A client's options.

    :param client_id: for gear's log; servers are not told.
    :param options: what is asked for on each connection.
    """

    def __init__(self, client_id: str, options: Iterable[bytes]) -> None:
        super().__init__(client_id)
        self.options.update(options)
