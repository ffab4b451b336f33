# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which answers to a notice count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gearhorn.daemon.notices import Notices, answer_to
from gearhorn.wire import framing
from gearhorn.wire.batch import Copy

TOPIC = "memos"
SECRET = "the secret of one"


def sent(told: dict[str, str | None]) -> tuple[Notices, bytes]:
    """Notices that were sent to one server, and the unique of the jobs."""
    notices = Notices(TOPIC, told)
    parts: list[bytes] = []

    def submit(connection: object, batch: Any) -> None:
        batch.pack(0, 1, parts)

    submitter: Any = SimpleNamespace(servers={"server": object()}, submit=submit)
    notices.send(submitter, "__matchmaking")
    return notices, parts[2].strip(b"\0")


def answer(notices: Notices, data: bytes, packet_type: int = framing.WORK_COMPLETE) -> bool:
    nothing: Any = None
    copy = Copy(nothing, "one", b"handle", nothing)
    notices.copy_created(copy)
    notices.copy_answered(copy, packet_type, data, True)
    return notices.confirmed.is_set()


def test_the_digest_of_the_daemon_counts() -> None:
    notices, nonce = sent({"one": SECRET})
    assert answer(notices, answer_to(TOPIC, nonce, SECRET).encode())
    assert not notices.silent
    assert not notices.strange


def test_no_two_notices_have_a_nonce_in_common() -> None:
    assert len({sent({"one": SECRET})[1] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"topic":"memos"}',
        b'{"topic":"memos","digest":""}',
        b'{"topic":"memos","digest":"\xff"}',
        b'{"topic":"memos","digest":"\xc3\xa4"}',
        b'{"topic":"memos","digest":7}',
        b"\xff",
        b"[" * 10_000,
    ],
)
def test_what_is_no_digest_is_silence(data: bytes) -> None:
    notices, _ = sent({"one": SECRET})
    assert not answer(notices, data)
    assert notices.silent == notices.strange == {"one"}


@pytest.mark.parametrize(
    ("topic", "nonce", "secret"),
    [
        # As where a stranger passes the notice on with another topic in it.
        ("unrelated", None, SECRET),
        # One that was overheard before.
        (TOPIC, b"another", SECRET),
        (TOPIC, None, "another"),
        (TOPIC, None, ""),
    ],
)
def test_the_digest_of_anything_else_is_silence(
    topic: str, nonce: bytes | None, secret: str
) -> None:
    notices, own_nonce = sent({"one": SECRET})
    assert not answer(notices, answer_to(topic, nonce or own_nonce, secret).encode())


def test_a_failure_is_silence() -> None:
    notices, nonce = sent({"one": SECRET})
    assert not answer(notices, answer_to(TOPIC, nonce, SECRET).encode(), framing.WORK_FAIL)


@pytest.mark.parametrize("secret", [None, ""])
def test_a_daemon_of_an_older_release_is_silent(secret: str | None) -> None:
    notices, nonce = sent({"one": secret})
    assert not answer(notices, b'{"topic":"memos"}')
    assert not answer(notices, answer_to(TOPIC, nonce, "").encode())
