# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Questions about journals to the daemons, and their answers."""

from collections.abc import Iterator, Sequence

import msgspec

from gearhorn import errors, messages
from gearhorn.client.answers import refusal
from gearhorn.client.caller import Caller
from gearhorn.messages import Backlog, JournalRow, Page, Query, Read
from gearhorn.wire.answer import Answer

ANSWER_TIMEOUT_S = 30.0
"""Seconds that a daemon has for an answer, beside those that it was told to wait."""
_QUERY_BYTES = 48 << 10
"""The most bytes of topics in one question: a daemon takes 64 KiB of JSON."""

_decode_backlog = msgspec.json.Decoder(Backlog).decode
_decode_rows = msgspec.json.Decoder(Page[JournalRow]).decode


async def read(
    caller: Caller, function: str, request: Read, timeout: float = ANSWER_TIMEOUT_S
) -> Backlog:
    """Read a journal.

    :param timeout: the seconds that a daemon has, beside those that it is told to wait.
    :raises NoJournal: the topic has none.
    :raises GearhornError: there is no answer, or it cannot be read.
    """
    answer = await caller.call(
        function, request.encode(), request.topic, timeout + (request.wait or 0)
    )
    return backlog(answer)


def backlog(answer: Answer) -> Backlog:
    """Return the answer of a daemon that was asked for messages.

    :raises GearhornError: it refused.
    :raises BadAnswer: its answer cannot be read.
    """
    if answer.completed:
        try:
            return _decode_backlog(answer.data)
        except msgspec.DecodeError:
            raise errors.BadAnswer("a daemon's answer makes no sense") from None
    raise refusal(answer.data)


async def rows(caller: Caller, function: str, topics: Sequence[str]) -> list[JournalRow]:
    """Return what daemons tell of the journals of these topics: a row for each that has one.

    :raises GearhornError: there is no answer, or it cannot be read.
    """
    found: list[JournalRow] = []
    for some in _divided(topics):
        request = Query(query=messages.JOURNALS, topics=some)
        answer = await caller.call(function, request.encode(), some[0], ANSWER_TIMEOUT_S)
        if not answer.completed:
            raise refusal(answer.data)
        try:
            found += _decode_rows(answer.data).rows
        except msgspec.DecodeError:
            raise errors.BadAnswer("a daemon's answer makes no sense") from None
    return found


def _divided(topics: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for topic in topics:
        written = len(msgspec.json.encode(topic)) + 1
        if some and (size + written > _QUERY_BYTES or len(some) == messages.MAX_PAGE):
            yield some
            some, size = [], 0
        some.append(topic)
        size += written
    if some:
        yield some
