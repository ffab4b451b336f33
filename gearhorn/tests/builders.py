# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests as any client makes them; :class:`~gearhorn.tests.peer.Peer` sends them as JSON."""

from __future__ import annotations

import json
from typing import Any

Request = dict[str, Any]


def message(topic: str, payload: object = "hello", **keys: Any) -> Request:
    """A message for the subscribers of a topic, for the function ``fanout``."""
    return {"topic": topic, "payload": payload, **keys}


def subscription(topic: str, client_id: str, **keys: Any) -> Request:
    """A subscriber of a topic, for the functions that register and that remove one."""
    return {"topic": topic, "client_id": client_id, **keys}


def encoded(request: Request) -> bytes:
    """A request as it is sent."""
    return json.dumps(request).encode()
