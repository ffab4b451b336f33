# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The settings of journals."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class JournalSettings:
    """The group ``[journal]`` of the configuration. Times are in seconds."""

    topics: Sequence[str] = ()
    """The patterns of the topics that have a journal, each with limits of its own if wanted."""
    max_messages: int = 10_000
    max_bytes: int = 64 << 20
    max_age: float = 604_800.0
    """The age at which a message ends, 0 for no end."""
    max_message_bytes: int = 1 << 20
    """The largest payload that a topic with a journal takes."""
    max_topics: int = 1000
    """The most journals in the store."""
    flush_interval: float = 0.0
    """How long messages are collected into one write; 0 for a turn of the loop."""
    id_window: float = 120.0
    """How long the id of a message is remembered."""
    url: str | None = None
    """The store of the journals, ``None`` for that of the subscriptions."""
