# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The packets of the Gearman protocol, as the tests make and read them.

They share no code with what is tested, so that an error in the package cannot hide itself. Type
numbers and arguments are those of the protocol text that gearmand's source holds (``PROTOCOL``).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CAN_DO = 1
CANT_DO = 2
PRE_SLEEP = 4
NOOP = 6
SUBMIT_JOB = 7
JOB_CREATED = 8
NO_JOB = 10
WORK_STATUS = 12
WORK_COMPLETE = 13
WORK_FAIL = 14
GET_STATUS = 15
ECHO_REQ = 16
ECHO_RES = 17
SUBMIT_JOB_BG = 18
ERROR = 19
STATUS_RES = 20
SUBMIT_JOB_HIGH = 21
SET_CLIENT_ID = 22
WORK_EXCEPTION = 25
OPTION_REQ = 26
OPTION_RES = 27
WORK_DATA = 28
WORK_WARNING = 29
GRAB_JOB_UNIQ = 30
JOB_ASSIGN_UNIQ = 31
SUBMIT_JOB_HIGH_BG = 32
SUBMIT_JOB_LOW = 33
SUBMIT_JOB_LOW_BG = 34
GET_STATUS_UNIQUE = 41
STATUS_RES_UNIQUE = 42

_NAMES = {number: name for name, number in list(globals().items()) if isinstance(number, int)}

#: How many NULs separate the arguments of a received packet; what follows the last is data.
_SEPARATORS = {
    ERROR: 1,
    WORK_STATUS: 2,
    WORK_COMPLETE: 1,
    WORK_EXCEPTION: 1,
    WORK_DATA: 1,
    WORK_WARNING: 1,
    JOB_ASSIGN_UNIQ: 3,
}

HEADER = struct.Struct(">4sII")
"""Magic, type and size, which stand before the body of each packet."""


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _packed(magic: bytes, packet_type: int, args: tuple[str | bytes, ...]) -> bytes:
    body = b"\0".join(map(_bytes, args))
    return HEADER.pack(magic, packet_type, len(body)) + body


def request(packet_type: int, *args: str | bytes) -> bytes:
    """A packet to a job server."""
    return _packed(b"\0REQ", packet_type, args)


def response(packet_type: int, *args: str | bytes) -> bytes:
    """A packet of a job server."""
    return _packed(b"\0RES", packet_type, args)


class Packet(NamedTuple):
    """A packet as it was received."""

    type: int
    body: bytes

    @property
    def args(self) -> list[bytes]:
        """The arguments; the last is the data, which may hold NULs."""
        return self.body.split(b"\0", _SEPARATORS.get(self.type, 0))

    @property
    def handle(self) -> bytes:
        """The first argument up to its first NUL.

        gearmand puts a NUL behind the handle of a WORK_FAIL that it made of a WORK_EXCEPTION.
        """
        return self.body.split(b"\0", 1)[0]

    def __repr__(self) -> str:
        return f"<{_NAMES.get(self.type, self.type)} {self.body!r}>"
