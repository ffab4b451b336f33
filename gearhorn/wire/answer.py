# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answer to a job, as its client gets it."""

from typing import NamedTuple

from gearhorn.wire import framing


class Answer(NamedTuple):
    """The end of a job.

    ``data`` is its result, or the warnings that came before its failure.
    """

    completed: bool
    data: bytes


class AnswerParts:
    """The parts of an answer, which comes in one packet or more."""

    __slots__ = ("_data", "_warnings")

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._warnings: list[bytes] = []

    def add(self, packet_type: int, data: bytes) -> Answer | None:
        """Take the data of a packet; return the answer if it was the last."""
        if packet_type == framing.WORK_DATA:
            self._data.append(data)
        elif packet_type == framing.WORK_WARNING:
            self._warnings.append(data)
        elif packet_type == framing.WORK_COMPLETE:
            return Answer(True, b"".join((*self._data, data)))
        elif packet_type in (framing.WORK_FAIL, framing.WORK_EXCEPTION):
            return Answer(False, b"".join((*self._warnings, data)))
        return None

    def clear(self) -> None:
        """Forget what came so far."""
        self._data.clear()
        self._warnings.clear()
