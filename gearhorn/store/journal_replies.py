# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The replies of the journals' Lua scripts, as what they stand for."""

from typing import Any

from redis import exceptions

from gearhorn.store.journal import (
    Answer,
    Append,
    Appended,
    First,
    JournalMessage,
    JournalRow,
    Placed,
    Reading,
    Refused,
)
from gearhorn.store.journal_numbers import crosses
from gearhorn.store.redis_errors import translate

_ERROR = "error "
_OF_DUPLICATE = 6


def appended(append: Append, reply: Any) -> Answer:
    """Return the answer to the append of one topic in a reply of ``journal_append.lua``."""
    if isinstance(reply, bytes):
        text = reply.decode(errors="replace")
        if text.startswith(_ERROR):
            return translate(exceptions.ResponseError(text.removeprefix(_ERROR)))
        return Refused(text)
    journal, told, first, *flat = reply
    duplicates = {}
    for i in range(0, len(flat), _OF_DUPLICATE):
        index, sequence, messages, groups, counts, payloads = flat[i : i + _OF_DUPLICATE]
        known = First(int(messages), int(groups), counts.decode(), payloads)
        duplicates[int(index)] = Placed(int(sequence), known)
    following = int(first)
    placed = []
    for index, entry in enumerate(append.entries):
        duplicate = duplicates.get(index)
        placed.append(duplicate or Placed(following))
        if duplicate is None:
            following += len(entry.payloads)
    return Appended(journal.decode() or None, placed, bool(told))


def reading(reply: Any, asked: str | None) -> Reading:
    """Return what ``journal_read.lua`` found for whoever asked for a journal."""
    journal = reply[0].decode() or None
    first, last, trimmed, jump, after = map(int, reply[1:6])
    heads, payloads = reply[6].split(), reply[7:]
    messages = [
        JournalMessage(int(entry_id[:-2]), int(published) / 1000, int(groups), payload)
        for entry_id, published, groups, payload in zip(
            heads[::3], heads[1::3], heads[2::3], payloads, strict=True
        )
    ]
    return Reading(
        journal,
        first,
        last,
        messages,
        trimmed=trimmed > after,
        gap=crosses(after, jump, last, messages),
        reset=asked is not None and asked != journal,
    )


def row(topic: str, reply: Any) -> JournalRow | None:
    """Return the row of a topic in a reply of ``journal_rows.lua``, if it has a journal."""
    journal, first, last, messages, size, age = reply
    if not journal:
        return None
    return JournalRow(
        topic,
        journal.decode(),
        int(first),
        int(last),
        int(messages),
        int(size),
        int(age) / 1000 if age else None,
    )
