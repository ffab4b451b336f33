# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The tables of an SQLite store."""

from gearhorn.store.numbers import NONCES

APPLICATION_ID = 0x67686F72  # "ghor", in the header of the file
SCHEMA_VERSION = 1
LATER = (
    """CREATE TABLE IF NOT EXISTS settings (
        worker_id TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS told (
        worker_id TEXT PRIMARY KEY,
        number INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS secrets (
        worker_id TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID""",
    # What subscribers brought for their queues, in JSON; only of those that brought any.
    """CREATE TABLE IF NOT EXISTS limits (
        topic TEXT NOT NULL,
        client_id TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (topic, client_id)
    ) WITHOUT ROWID""",
    # What a daemon knows that older releases do not: "records", "journals".
    """CREATE TABLE IF NOT EXISTS knows (
        worker_id TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID""",
    # The records of ended subscriptions.
    """CREATE TABLE IF NOT EXISTS ended (
        queue TEXT PRIMARY KEY,
        topic TEXT NOT NULL,
        client_id TEXT NOT NULL,
        ended_at REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS ended_at ON ended (ended_at)",
    # The leases of daemons that discard what is in a queue.
    """CREATE TABLE IF NOT EXISTS discards (
        queue TEXT PRIMARY KEY,
        token TEXT NOT NULL,
        length REAL NOT NULL,
        ends_at REAL NOT NULL
    ) WITHOUT ROWID""",
    # The queues that are not served, and when their subscriptions are to end.
    """CREATE TABLE IF NOT EXISTS idle (
        queue TEXT PRIMARY KEY,
        after REAL NOT NULL,
        due_at REAL NOT NULL
    ) WITHOUT ROWID""",
    # The patterns of the topics with journals, in JSON, and the identity of their store: one row.
    """CREATE TABLE IF NOT EXISTS patterns (
        version INTEGER NOT NULL,
        text TEXT NOT NULL,
        journals TEXT NOT NULL
    )""",
    # The heads of the journals, with times in milliseconds.
    """CREATE TABLE IF NOT EXISTS journals (
        journal INTEGER PRIMARY KEY,
        topic TEXT NOT NULL UNIQUE,
        id TEXT NOT NULL,
        last INTEGER NOT NULL,
        trimmed INTEGER NOT NULL,
        jump INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        appended_at INTEGER NOT NULL,
        max_age INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS journal_messages (
        journal INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        published INTEGER NOT NULL,
        groups INTEGER NOT NULL,
        payload BLOB NOT NULL,
        PRIMARY KEY (journal, sequence)
    ) WITHOUT ROWID""",
    # The last append of each daemon: its first sequence, and which entries were duplicates of what.
    """CREATE TABLE IF NOT EXISTS journal_appends (
        journal INTEGER NOT NULL,
        worker_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        first INTEGER NOT NULL,
        repeats TEXT NOT NULL,
        PRIMARY KEY (journal, worker_id)
    ) WITHOUT ROWID""",
    # What publishers named: ``counts`` are those of a complete run.
    """CREATE TABLE IF NOT EXISTS journal_ids (
        journal INTEGER NOT NULL,
        id TEXT NOT NULL,
        used_at INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        groups INTEGER NOT NULL,
        counts TEXT NOT NULL,
        PRIMARY KEY (journal, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS journal_ids_used ON journal_ids (journal, used_at)",
    # ``kind`` is "follows", with a tag, "restarted", "file", with its device and inode, or
    # "looked", with a time.
    """CREATE TABLE IF NOT EXISTS notes (
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (kind, text)
    ) WITHOUT ROWID""",
)
"""The tables that a file of an older release lacks: they are made in it at once, and those
releases do not mind them."""
MAKE = f"""INSERT INTO store SELECT ?, max(
    ifnull((SELECT max(version) / {NONCES} FROM unconfirmed), 0),
    ifnull((SELECT max(abs(renewal)) FROM daemons), 0))"""  # nosec B608
"""Give an identity to a store that has none, with a counter that has not given what is there."""
SCHEMA = (
    "CREATE TABLE store (identity TEXT NOT NULL, counter INTEGER NOT NULL)",
    # The row is also the claim on the queue name.
    """CREATE TABLE subscribers (
        topic TEXT NOT NULL,
        client_id TEXT NOT NULL,
        queue TEXT NOT NULL UNIQUE,
        expires_at REAL,
        PRIMARY KEY (topic, client_id)
    ) WITHOUT ROWID""",
    """CREATE INDEX expiry ON subscribers (expires_at)
        WHERE expires_at IS NOT NULL""",
    """CREATE TABLE unconfirmed (
        topic TEXT PRIMARY KEY,
        version INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE daemons (
        worker_id TEXT PRIMARY KEY,
        renewal INTEGER NOT NULL,
        seen_at REAL NOT NULL
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
