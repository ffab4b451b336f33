# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The options of journals, in the group ``[journal]``."""

from oslo_config import cfg

from gearhorn import messages
from gearhorn.daemon.journal.patterns import MOST_BYTES, MOST_MESSAGES
from gearhorn.daemon.journal.settings import JournalSettings

MOST_TOPICS = 1_000_000_000
MOST_WINDOW_S = 86400.0

JOURNAL = (
    cfg.ListOpt(
        "topics",
        default=list(JournalSettings.topics),
        help="The topics that have a journal: patterns with *, ? and [], matched with case, each "
        "with limits of its own if wanted, as in orders.*, state.*?max_messages=1&max_age=0. The "
        "first that fits counts. All daemons need the same patterns. Unless given, no topic has "
        "one.",
    ),
    cfg.IntOpt(
        "max_messages",
        mutable=True,
        default=JournalSettings.max_messages,
        min=1,
        max=MOST_MESSAGES,
        help="The most messages that a journal keeps, where its pattern does not say.",
    ),
    cfg.IntOpt(
        "max_bytes",
        mutable=True,
        default=JournalSettings.max_bytes,
        min=1,
        max=MOST_BYTES,
        help="The most bytes of payloads that a journal keeps, where its pattern does not say.",
    ),
    cfg.FloatOpt(
        "max_age",
        mutable=True,
        default=JournalSettings.max_age,
        min=0,
        max=messages.MAX_SECONDS,
        help="Seconds for which a journal keeps a message, where its pattern does not say; 0 for "
        "no end.",
    ),
    cfg.IntOpt(
        "max_message_bytes",
        mutable=True,
        default=JournalSettings.max_message_bytes,
        min=1,
        max=1 << 30,
        help="The largest payload in bytes that a topic with a journal takes; larger ones are "
        "refused.",
    ),
    cfg.IntOpt(
        "max_topics",
        mutable=True,
        default=JournalSettings.max_topics,
        min=1,
        max=MOST_TOPICS,
        help="The most journals in the store. A message that would make one more is refused.",
    ),
    cfg.FloatOpt(
        "flush_interval",
        mutable=True,
        default=JournalSettings.flush_interval,
        min=0,
        max=1,
        help="Seconds for which messages are collected into one write of the store; 0 for what "
        "comes at once.",
    ),
    cfg.FloatOpt(
        "id_window",
        mutable=True,
        default=JournalSettings.id_window,
        min=1,
        max=MOST_WINDOW_S,
        help="Seconds for which the id of a message is remembered, counted from its last repeat: "
        "a message with the same one is not appended again.",
    ),
    cfg.StrOpt(
        "url",
        secret=True,
        sample_default="<the url of [store]>",
        help="Another store for the journals, with the timeout and key_prefix of [store]. May "
        "hold a password; write a dollar sign as $$.",
    ),
)
