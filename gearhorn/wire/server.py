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

# gear has no names for these either.
_GET_STATUS_UNIQUE = 41
_STATUS_RES_UNIQUE = 42

_MOST_NAME_BYTES = 8191
_MOST_UNIQUE_BYTES = 64

_SUBMISSIONS = frozenset(
    (
        constants.SUBMIT_JOB,
        constants.SUBMIT_JOB_BG,
        constants.SUBMIT_JOB_HIGH,
        constants.SUBMIT_JOB_HIGH_BG,
        constants.SUBMIT_JOB_LOW,
        constants.SUBMIT_JOB_LOW_BG,
    )
)
_NAMING = _SUBMISSIONS | {constants.CAN_DO, constants.CAN_DO_TIMEOUT, constants.CANT_DO}
_RESULTS = frozenset(
    (
        constants.WORK_COMPLETE,
        constants.WORK_DATA,
        constants.WORK_EXCEPTION,
        constants.WORK_FAIL,
        constants.WORK_STATUS,
        constants.WORK_WARNING,
    )
)
_UNEXPECTED = frozenset(
    (constants.ALL_YOURS, constants.SUBMIT_JOB_EPOCH, constants.SUBMIT_JOB_SCHED)
)

_DROP = b"drop function "


class JobServer(gear.Server):
    """``gear.Server`` for workers other than gear's.

    It refuses what gearmand refuses, so that a program that was tried with it does not
    fail with gearmand.
    """

    def handlePacket(self, packet: Any) -> None:
        ptype = packet.ptype
        if ptype in _NAMING and len(packet.getArgument(0)) > _MOST_NAME_BYTES:
            raise gear.DisconnectError
        if ptype in _SUBMISSIONS and len(packet.getArgument(1)) > _MOST_UNIQUE_BYTES:
            self.sendError(packet.connection, "ARGUMENT_TOO_LARGE", "Unique value too large")
        elif ptype in _RESULTS and packet.getArgument(0) not in self.jobs:
            self.sendError(packet.connection, "JOB_NOT_FOUND", "Job given in work result not found")
        elif ptype in _UNEXPECTED:
            self.sendError(packet.connection, "INVALID_COMMAND", "Command not expected")
        elif ptype == _GRAB_JOB_ALL:
            # As gearmand answers if no reducer is set.
            self.handleGrabJobUniq(packet)
        elif ptype == _GET_STATUS_UNIQUE:
            self.handleGetStatusUnique(packet)
        elif ptype not in constants.types:
            raise gear.DisconnectError
        else:
            super().handlePacket(packet)

    def handleCanDoTimeout(self, packet: Any) -> None:
        # The timeout is not kept.
        self.handleCanDo(packet)

    def handleCantDo(self, packet: Any) -> None:
        packet.connection.functions.discard(packet.getArgument(0))

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

    def handleGetStatusUnique(self, packet: Any) -> None:
        unique = packet.getArgument(0)
        found = [job for job in self.jobs.values() if unique and job.unique == unique]
        fields = [b"0", b"0", b"0", b"0", b"0"]
        if found:
            # gearmand, too, tells of the newest one.
            job = found[-1]
            running = job.worker_connection is not None
            has_client = job.client_connection is not None
            fields = [b"1", b"%d" % running, b"0", b"0", b"%d" % has_client]
        packet.connection.sendPacket(
            gear.Packet(constants.RES, _STATUS_RES_UNIQUE, b"\0".join([unique, *fields]))
        )

    def _lostConnection(self, conn: Any) -> None:
        # gear drops the jobs of a client that has gone, and refuses their results. A worker
        # that has taken one may go on.
        for job in list(conn.related_jobs.values()):
            if job.client_connection is conn and job.worker_connection not in (None, conn):
                job.client_connection = None
                del conn.related_jobs[job.handle]
        super()._lostConnection(conn)

    def handleOptionReq(self, packet: Any) -> None:
        option = packet.getArgument(0)
        if option != b"exceptions":
            self.sendError(
                packet.connection, "UNKNOWN_OPTION", "Server does not recognize given option"
            )
            return
        # gear always sends them.
        packet.connection.sendPacket(gear.Packet(constants.RES, constants.OPTION_RES, option))

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
