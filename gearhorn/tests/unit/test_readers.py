# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a reader makes of answers that no sound store gives."""

from __future__ import annotations

import asyncio

import pytest

from gearhorn import AsyncReader, errors
from gearhorn.client.journal import async_reader
from gearhorn.messages import Backlog, JournalMessage


class Answered(AsyncReader):
    """A reader that is given these answers, one after the other."""

    def __init__(self, *answers: Backlog | errors.GearhornError, follow: bool = False) -> None:
        super().__init__("server.example", "t", follow=follow)
        self._answers = list(answers)

    async def _ask(self) -> Backlog:
        answer = self._answers.pop(0)
        if isinstance(answer, errors.GearhornError):
            raise answer
        return answer


def backlog(last: int, *sequences: int) -> Backlog:
    messages = [
        JournalMessage(sequence=number, published=1.0, payload=str(number)) for number in sequences
    ]
    return Backlog(topic="t", journal="65f0", first=1, last=last, messages=messages)


async def test_where_the_store_has_lost_the_last_messages_the_reading_ends() -> None:
    reader = Answered(backlog(5, 1, 2), backlog(5))
    assert [entry.sequence async for entry in reader] == [1, 2]
    assert reader.after == 5


async def test_a_reader_that_follows_pauses_where_the_queue_of_readers_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    reader = Answered(
        errors.NotQueued("full"), errors.NotQueued("full"), backlog(1, 1), follow=True
    )
    async for entry in reader:
        assert entry.sequence == 1
        break
    assert paused == [async_reader._PAUSE_S] * 2
