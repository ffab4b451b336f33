# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests as the package decodes them, by what they are for."""

from __future__ import annotations

from typing import Any

from gearhorn import messages
from gearhorn.messages import FanOut, Notice, Query, Read, Register, RequestDecoder, Unregister
from gearhorn.tests.builders import Request, encoded, message

CLASSES: dict[str, type[messages.Request]] = {
    "register": Register,
    "unregister": Unregister,
    "fanout": FanOut,
    "notice": Notice,
    "query": Query,
    "read": Read,
}


def decode(kind: str, request: bytes | Request) -> Any:
    data = encoded(request) if isinstance(request, dict) else request
    return RequestDecoder(CLASSES[kind])(data)


def fan_out(**keys: Any) -> FanOut:
    request: FanOut = decode("fanout", {**message("t", "p"), **keys})
    return request


def payload_of(request: bytes) -> bytes:
    decoded: FanOut = decode("fanout", request)
    return decoded.payload_bytes()
