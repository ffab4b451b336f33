# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The messages and subscribers, as Gearman packets: for the daemon and for the references."""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Sequence
from typing import Any

from benchmarks.packets import SUBMIT_JOB, SUBMIT_JOB_BG, Connection, packet, run_jobs

PAYLOAD = b"x" * 100
FANOUT = b"fanout"
TOPIC = "benchmark"

# The default cache_ttl, a tenth more, and a little.
_SETTLING_S = 11.5

# The jobs that share a unique, see `background_copies`.
_COPIES_A_UNIQUE = 500


def client_ids(count: int) -> list[str]:
    return [f"client{number}" for number in range(count)]


def queues(count: int, topic: str = TOPIC) -> list[bytes]:
    return queues_of(client_ids(count), topic)


def queues_of(client_ids: Sequence[str], topic: str = TOPIC) -> list[bytes]:
    return [f"{topic}_{client_id}".encode() for client_id in client_ids]


def fanout_job(
    kind: int,
    *,
    background: bool,
    gather: bool = False,
    topic: str = TOPIC,
    payload: bytes = PAYLOAD,
    messages: int = 1,
    message_id: str = "",
) -> bytes:
    """Return a packet of `kind` that submits a job to `fanout`, with so many messages."""
    request: dict[str, Any] = {"topic": topic, "background": background}
    if message_id:
        request["id"] = message_id
    if messages == 1:
        request["payload"] = payload.decode()
    else:
        request["payloads"] = [payload.decode()] * messages
    if gather:
        request["gather"] = True
    return packet(kind, FANOUT, b"", json.dumps(request).encode())


def registration(topic: str, client_id: str) -> bytes:
    request = json.dumps({"topic": topic, "client_id": client_id}).encode()
    return packet(SUBMIT_JOB, b"register_fanout_subscriber", b"", request)


def register(connection: Connection, subscribers: int) -> None:
    """Subscribe so many client_ids to the topic, through the daemon."""
    run_jobs(connection, [registration(TOPIC, client_id) for client_id in client_ids(subscribers)])


def settle() -> None:
    """Wait until daemons that were just started answer registrations as usual.

    A daemon that finds a store in use cannot know who holds lists that were read before. Until
    these are too old, it answers no change early.
    """
    time.sleep(_SETTLING_S)


def new_token() -> bytes:
    """Return a token like that which the daemon makes for each fan-out."""
    return secrets.token_urlsafe(16).encode()


def background_copies(
    names: Sequence[bytes], payload: bytes = PAYLOAD, token: bytes | None = None
) -> list[bytes]:
    """Return one fan-out's copies, with uniques and in an order as the daemon has them.

    A unique is a token of the fan-out and a group number taken from the queue name, since
    gearmand is slow with one unique for very many jobs, and with very many uniques. It looks
    through all jobs with the same hash. That is several times as fast while they are the same
    few, so copies with the same unique follow each other.
    """
    prefix = (token or new_token()) + b"-"
    groups = 1 << (-(-len(names) // _COPIES_A_UNIQUE) - 1).bit_length()
    grouped = sorted((zlib.crc32(name) & (groups - 1), name) for name in names)
    return [packet(SUBMIT_JOB_BG, name, prefix + b"%d" % group, payload) for group, name in grouped]
