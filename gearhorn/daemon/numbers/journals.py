# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers of journals."""

from collections.abc import Iterator

from gearhorn.daemon.numbers.family import Family, calls, one, plain
from gearhorn.daemon.numbers.survey import Survey
from gearhorn.store.timing import JOURNAL_OPERATIONS


def journals(survey: Survey) -> Iterator[Family]:
    """Yield those of a daemon that has journals."""
    counts, its = survey.counts, survey.journals
    if its.patterns is None:
        return
    yield from plain(
        "counter",
        ("journal_messages_total", "Messages appended to journals.", counts.journal_messages),
        ("journal_bytes_total", "Bytes of their payloads.", counts.journal_bytes),
        ("journal_duplicates_total", "Messages whose id was known.", counts.journal_duplicates),
        ("journal_read_messages_total", "Messages given to readers.", counts.journal_read),
        ("journal_replayed_total", "Messages replayed into queues.", counts.journal_replayed),
    )
    yield from plain(
        "gauge",
        ("journal_up", "1 if no append waits for the store.", int(its.is_up)),
        ("journal_readers", "Readers that wait for a message.", its.readers),
        ("journal_replays", "Replays that run or wait for a place.", its.replays_running),
    )
    yield Family(
        "journal_append_seconds",
        "histogram",
        "The time that a write to the journals took.",
        one(counts.journal_appends),
    )
    names = ("journal_errors_total", "journal_call_duration_seconds")
    yield from calls(names, "the journals' store", JOURNAL_OPERATIONS, counts.journal_calls)
