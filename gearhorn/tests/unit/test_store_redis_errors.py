# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Errors of redis-py and of the loop come out as errors of the store."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions

from gearhorn import errors
from gearhorn.store.redis_errors import TRANSLATED, translate


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection lost"),
        exceptions.TimeoutError("Timeout reading"),
        exceptions.BusyLoadingError("Redis is loading"),
        ConnectionResetError(104, "reset"),
        asyncio.TimeoutError(),
        # A transport of asyncio in Python 3.12 and 3.13, after a reset.
        AttributeError("'NoneType' object has no attribute '_add_writer'"),
        RuntimeError("unable to perform operation on <TCPTransport closed=True>"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_connection_is_a_store_that_is_away(error: Exception) -> None:
    assert isinstance(error, TRANSLATED)
    assert type(translate(error)) is errors.StoreAway


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Error 111 connecting to h:1. Connection refused.", "h:1: connection refused"),
        (
            "Error -2 connecting to h:1. Name or service not known.",
            "h:1: name or service not known",
        ),
        (
            "Redis Cluster cannot be connected. Please provide at least one reachable node: "
            "Error 111 connecting to h:1. Connection refused.",
            "Redis Cluster cannot be connected. Please provide at least one reachable node: "
            "h:1: connection refused",
        ),
    ],
)
def test_a_connection_that_cannot_be_made_is_told_of_in_words(text: str, plain: str) -> None:
    assert str(translate(exceptions.ConnectionError(text))) == f"Redis: {plain}"


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        # As Redis 6 says of a script.
        "Error running script (call to f_1): @user_script:26: WRONGTYPE Operation against a key",
    ],
)
def test_a_key_of_another_type_may_be_that_of_another_program(text: str) -> None:
    error = translate(exceptions.ResponseError(text))
    assert type(error) is errors.StoreMisconfigured
    assert "set another key_prefix" in str(error)
