# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The place of a message in a journal, as its copies and its report carry it."""

import zlib
from collections.abc import Sequence

import msgspec

from gearhorn import messages
from gearhorn.daemon.placement import Share


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """A message that stands in a journal.

    :ivar groups: the number of groups by which its copies are told apart, a power of two. It
        is kept with the message: gearmand joins a copy that is sent again to the first one
        only under the same unique.
    :ivar payload: what the journal has, where that is not the request's own.
    :ivar id: the publisher's name for it, whose record is to be marked once every copy is
        queued; ``""`` without.
    """

    journal: str
    sequence: int
    groups: int
    payload: messages.Content | None = None
    id: str = ""

    def uniques(self, tail: bytes = b"") -> list[bytes]:
        """Return the unique of each group of copies.

        :param tail: what they end in: for foreground copies the token of the connection.
        """
        if self.groups == 1:
            return [self.unique(0, 0) + tail]
        begin = f"j.{self.journal}.{self.sequence}.".encode()
        return [b"%s%d%s" % (begin, group, tail) for group in range(self.groups)]

    def unique(self, message: int, group: int) -> bytes:
        """Return the unique of the copies of a message, counted from the first, in a group."""
        return f"j.{self.journal}.{self.sequence + message}.{group}".encode()

    def groups_of(self, share: Share, group_count: int) -> Sequence[int] | None:
        """Return the group of each queue, ``None`` if there is only one.

        :param group_count: the number by which the list has divided its queues.
        """
        if self.groups == 1:
            return None
        if group_count == self.groups:
            return share.groups
        mask = self.groups - 1
        if share.groups is not None and group_count > self.groups:
            return [group & mask for group in share.groups]
        return [zlib.crc32(queue) & mask for queue in share.queues]

    def added_to(self, report: bytes) -> bytes:
        """Return the report of a fan-out with this number in it."""
        return b'%s,"journal":"%s","sequence":%d}' % (
            report[:-1],
            self.journal.encode(),
            self.sequence,
        )
