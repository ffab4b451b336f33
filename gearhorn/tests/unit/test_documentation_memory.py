# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The memory that the documentation adds up, the unit file and the defaults."""

from __future__ import annotations

import re

from gearhorn.daemon.settings import DaemonSettings
from gearhorn.tests.unit.test_documentation import PAGES, ROOT, between, section, words

BASE_MIB = 512
CAPACITY = PAGES["explanation/capacity"]


def messages() -> int:
    """How many messages of the largest size the page adds up."""
    rows = re.findall(r"^     - (\d+)$", between(CAPACITY, "memory"), re.MULTILINE)
    return sum(map(int, rows))


def test_the_unit_file_allows_what_the_page_adds_up() -> None:
    most_mib = BASE_MIB + messages() * DaemonSettings.max_message_bytes // (1 << 20)
    unit = (ROOT / "etc" / "gearhorn-fanout.service").read_text("utf-8")
    assert f"MemoryMax={most_mib}M\n" in unit
    message_mib = DaemonSettings.max_message_bytes >> 20
    assert f"# {BASE_MIB} MiB, and {messages()} messages of [fanout] max_message_bytes" in unit
    assert f"({message_mib} MiB)" in unit
    assert re.search(r"^LimitNOFILE=\d+$", unit, re.MULTILINE)


def test_the_page_says_what_it_adds_up() -> None:
    text = words(section(CAPACITY, "How much memory a daemon takes"))
    message_mib = DaemonSettings.max_message_bytes >> 20
    most_mib = BASE_MIB + messages() * message_mib
    assert f"That is {messages()} messages of {message_mib} MiB, and {most_mib} MiB" in text
    assert f"makes it {BASE_MIB + messages()} MiB" in text
