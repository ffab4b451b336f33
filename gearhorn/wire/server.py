# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The job server of the standalone mode if gearmand is not installed.

``python -m gearhorn.wire.server HOST PORT`` serves with gear's own, which is made
for tests, and adds what the daemon and Gearman's stock tools need.
"""

import logging
import signal
import sys
from importlib import metadata
from typing import Any

import gear
from gear import constants

_GRAB_JOB_ALL = 39
"""The request for a job of workers on libgearman, such as the tool gearman. gear has
no name for it."""

_DROP = b"drop function "


class JobServer(gear.Server):
    """``gear.Server`` for workers other than gear's."""

    def handlePacket(self, packet: Any) -> None:
        if packet.ptype == _GRAB_JOB_ALL:
            # As gearmand answers if no reducer is set.
            self.handleGrabJobUniq(packet)
        else:
            super().handlePacket(packet)

    def handleGrabJob(self, packet: Any) -> None:
        job = self.getJobForConnection(packet.connection)
        if job is None:
            self.sendNoJob(packet.connection)
            return
        data = b"\0".join((job.handle, job.name, job.arguments))
        packet.connection.sendPacket(gear.Packet(constants.RES, constants.JOB_ASSIGN, data))

    def handleEchoReq(self, packet: Any) -> None:
        packet.connection.sendPacket(
            gear.Packet(constants.RES, constants.ECHO_RES, packet.getArgument(0, True))
        )

    def handleOptionReq(self, packet: Any) -> None:
        # "exceptions" is the only option there is, and gear always sends them.
        packet.connection.sendPacket(
            gear.Packet(constants.RES, constants.OPTION_RES, packet.getArgument(0))
        )

    def handleAdminRequest(self, request: Any) -> None:
        command = request.command.strip()
        if command.startswith(_DROP):
            name = command.removeprefix(_DROP)
            if any(name in connection.functions for connection in self.active_connections):
                request.connection.sendRaw(b"ERR there are still connected workers\n")
            else:
                self.functions.discard(name)
                request.connection.sendRaw(b"OK\n")
        elif command == b"version":
            # With gear's name, so nobody takes the number for gearmand's.
            request.connection.sendRaw(f"OK gear {metadata.version('gear')}\n".encode())
        else:
            super().handleAdminRequest(request)


def main() -> None:
    """Serve until a signal ends the process."""
    host, port = sys.argv[1:]
    # gear would format each packet for the log.
    logging.basicConfig(level=logging.WARNING)
    JobServer(int(port), host=host)
    signal.pause()


if __name__ == "__main__":
    main()
