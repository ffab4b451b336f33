# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Gearman's binary protocol as bytes: no sockets, no clock, no state but a buffer.

A packet has a header of twelve bytes: a magic code, a type and the size of the
body, four bytes each, big-endian. The body holds arguments divided by NUL. See
http://gearman.org/protocol.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from gearhorn import errors
from gearhorn.wire.gear_import import constants

HEADER_BYTES: Final = 12
REQUEST: Final = constants.REQ
RESPONSE: Final = constants.RES

_header = struct.Struct(">4sII")
_SHOWN_BYTES = 1000
"""The bytes of an ERROR that are shown to people."""

OVERSIZE_HEAD_BYTES: Final = 16 * 1024
"""The bytes that are kept of a packet that is too large: enough for its arguments."""

CAN_DO: Final[int] = constants.CAN_DO
CANT_DO: Final[int] = constants.CANT_DO
ECHO_REQ: Final[int] = constants.ECHO_REQ
ECHO_RES: Final[int] = constants.ECHO_RES
ERROR: Final[int] = constants.ERROR
GET_STATUS: Final[int] = constants.GET_STATUS
GRAB_JOB_UNIQ: Final[int] = constants.GRAB_JOB_UNIQ
JOB_ASSIGN_UNIQ: Final[int] = constants.JOB_ASSIGN_UNIQ
JOB_CREATED: Final[int] = constants.JOB_CREATED
NOOP: Final[int] = constants.NOOP
NO_JOB: Final[int] = constants.NO_JOB
PRE_SLEEP: Final[int] = constants.PRE_SLEEP
STATUS_RES: Final[int] = constants.STATUS_RES
# gear has no names for these two.
GET_STATUS_UNIQUE: Final = 41
STATUS_RES_UNIQUE: Final = 42
SUBMIT_JOB: Final[int] = constants.SUBMIT_JOB
WORK_COMPLETE: Final[int] = constants.WORK_COMPLETE
WORK_DATA: Final[int] = constants.WORK_DATA
WORK_EXCEPTION: Final[int] = constants.WORK_EXCEPTION
WORK_FAIL: Final[int] = constants.WORK_FAIL
WORK_STATUS: Final[int] = constants.WORK_STATUS
WORK_WARNING: Final[int] = constants.WORK_WARNING

ANSWERS: Final = frozenset((WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL))
"""The packets that carry the result of a job."""

Packet: TypeAlias = tuple[int, bytes, bool]
"""The type of a packet, its body, and true if the body is whole. Only the head is
kept of one that is too large."""

SUBMIT_TYPES: Final = {
    (False, "high"): constants.SUBMIT_JOB_HIGH,
    (False, "normal"): constants.SUBMIT_JOB,
    (False, "low"): constants.SUBMIT_JOB_LOW,
    (True, "high"): constants.SUBMIT_JOB_HIGH_BG,
    (True, "normal"): constants.SUBMIT_JOB_BG,
    (True, "low"): constants.SUBMIT_JOB_LOW_BG,
}
"""The packet that submits a job, by (background, priority)."""


def error_text(body: bytes) -> str:
    """Return the code and text of an ERROR packet, for people."""
    return body[:_SHOWN_BYTES].replace(b"\0", b" ").decode("utf-8", "replace")


def is_queue_full(body: bytes) -> bool:
    """Return true if an ERROR packet refuses a job for gearmand's ``maxqueue``."""
    # Its code, QUEUE_ERROR, stands for other faults too.
    return body.endswith(b"Job queue is full")


def is_known(packet_type: int) -> bool:
    """Return true if Gearman has packets of this type."""
    return packet_type in constants.types


header: Callable[[int, int], bytes] = functools.partial(_header.pack, REQUEST)
"""Return the header of a request of a type, whose body has so many bytes."""


def pack(packet_type: int, *arguments: bytes) -> bytes:
    """Return a request, ready to send."""
    body = b"\0".join(arguments)
    return _header.pack(REQUEST, packet_type, len(body)) + body


class PacketReader:
    """A reader that cuts a stream of bytes into packets.

    Of a body over ``max_bytes`` only the first 16 KiB are kept. The arguments in
    them are enough to refuse a job.

    :param max_bytes: the largest body that is kept whole, in bytes.
    :param magic: the magic code of every packet.
    """

    def __init__(self, max_bytes: int, magic: bytes = RESPONSE) -> None:
        self._limit = max(max_bytes, OVERSIZE_HEAD_BYTES)
        self._magic = magic
        self._rest = bytearray()
        self._need = HEADER_BYTES
        self._to_skip = 0
        self._oversize: Packet = (0, b"", False)

    def feed(self, data: bytes) -> Sequence[Packet]:
        """Return the packets that ``data`` completes.

        :raises FramingError: the stream holds something other than packets.
        """
        packets: list[Packet] = []
        if self._to_skip:
            if len(data) < self._to_skip:
                self._to_skip -= len(data)
                return packets
            data = data[self._to_skip :]
            self._to_skip = 0
            packets.append(self._oversize)
        elif self._rest:
            # A bytearray grows in steps. Rejected: joining bytes at each read, which
            # is quadratic in the size of a large packet; a list of pieces, which
            # takes many times that size if they are small.
            self._rest += data
            if len(self._rest) < self._need:
                return packets
            data = bytes(self._rest)
            self._rest = bytearray()
        rest = self._cut(data, packets)
        if rest < len(data):
            self._rest = bytearray(data[rest:])
        return packets

    def _cut(self, data: bytes, packets: list[Packet]) -> int:
        """Append the packets in ``data``; return where the rest begins."""
        append = packets.append
        unpack = _header.unpack_from
        magic = self._magic
        limit = self._limit
        position = 0
        end = len(data)
        self._need = HEADER_BYTES
        while end - position >= HEADER_BYTES:
            found, packet_type, size = unpack(data, position)
            if found != magic:
                raise errors.FramingError(f"expected a Gearman packet, got {found!r}")
            body = position + HEADER_BYTES
            if size > limit:
                position = self._cut_oversize(data, position, packet_type, size, packets)
                if self._need > HEADER_BYTES:
                    break
                continue
            after = body + size
            if after > end:
                self._need = HEADER_BYTES + size
                break
            append((packet_type, data[body:after], True))
            position = after
        return position

    def _cut_oversize(
        self,
        data: bytes,
        position: int,
        packet_type: int,
        size: int,
        packets: list[Packet],
    ) -> int:
        body = position + HEADER_BYTES
        head = data[body : body + OVERSIZE_HEAD_BYTES]
        if len(head) < OVERSIZE_HEAD_BYTES:
            self._need = HEADER_BYTES + OVERSIZE_HEAD_BYTES
            return position
        oversize = (packet_type, head, False)
        self._to_skip = max(0, body + size - len(data))
        if self._to_skip:
            self._oversize = oversize
            return len(data)
        packets.append(oversize)
        return body + size
