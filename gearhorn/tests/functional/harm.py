# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Checks that a daemon is unharmed: it still serves, within bounded memory."""

from __future__ import annotations

from typing import Any

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import Process, status_of

MEGABYTE = 1 << 20


def limited_to(max_message_bytes: int) -> dict[str, Any]:
    """The option for a daemon that takes no larger requests."""
    return {"fanout.max_message_bytes": max_message_bytes}


def resident_megabytes(process: Process) -> int:
    return int(status_of(process.pid)["VmRSS"].split()[0]) // 1024


def peak_megabytes(process: Process) -> int:
    """The most that it has taken since its start."""
    return int(status_of(process.pid)["VmHWM"].split()[0]) // 1024


def assert_serves(topic: Topic) -> None:
    """A message of another topic comes through."""
    other = f"{topic.name}-other"
    assert topic.client.submit("subscribe_fanout", subscription(other, "bob")).completed
    worker = topic.peer()
    worker.can_do(f"{other}_bob")
    handle = topic.client.start("fanout", message(other))
    assert worker.take(1) == [b"hello"]
    assert topic.client.finish(handle).report["delivered"] == 1
