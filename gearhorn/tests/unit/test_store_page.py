# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The page on the store names what is stored, and the numbers of the journals."""

from __future__ import annotations

import re

import pytest

from gearhorn.store import journal, redis_scripts, sqlite_tables
from gearhorn.tests.unit.test_documentation import PAGES, words

PAGE = PAGES["reference/store"]
KEYS = ("follows", "topic:<topic>", "limits:<topic>", "journals", "journal:<topic>")
KEYS_OF_JOURNALS = ("journal_head:<topic>", "journal_ids:<topic>", "journal_ids_at:<topic>")


@pytest.mark.parametrize("key", [*redis_scripts.KEYS, *KEYS, *KEYS_OF_JOURNALS])
def test_every_key_in_redis_stands_on_the_page(key: str) -> None:
    assert f"\n   * - ``{key}``\n" in PAGE


def test_every_table_in_sqlite_stands_on_the_page() -> None:
    statements = "".join((*sqlite_tables.SCHEMA, *sqlite_tables.LATER))
    for table in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", statements):
        assert f"``{table}``" in PAGE


def test_the_numbers_of_the_journals_stand_on_the_page() -> None:
    text = words(PAGE)
    assert f"for the {journal.MOST_WORKERS} daemons that appended last" in text
    assert f"The newest {journal.MOST_IDS:,} are kept" in text
    assert journal.UNUSED_AFTER == 10
    assert "for ten times its ``max_age`` is deleted" in text
