# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The calls of scripts are packed by hiredis, as redis-py itself packs them."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import connection
from redis.exceptions import DataError

from gearhorn.store import redis_connection
from gearhorn.store.redis_connection import Reached, ReachedSocket

CALL = ("EVALSHA", "0" * 40, 2, "key:é", b"\xff\0\r\n", 0, -1, 2**53, "", b"", "x" * 10_000)


@pytest.mark.parametrize("kind", [Reached, ReachedSocket])
@pytest.mark.parametrize("packs", [True, False])
def test_a_call_of_a_script_is_packed_as_redis_py_does(
    kind: type[Any], packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packs:
        assert redis_connection._pack is not None
    else:
        # Without hiredis, or with one before its release 2.2.
        monkeypatch.setattr(redis_connection, "_pack", None)
    for command in (CALL, ("EVAL", "return 1", 0), ("CONFIG GET", "save"), ("PING",)):
        expected = connection.Connection().pack_command(*command)
        assert b"".join(kind().pack_command(*command)) == b"".join(expected)


def test_what_is_no_argument_is_refused() -> None:
    with pytest.raises((DataError, TypeError)):
        Reached().pack_command("EVALSHA", None)
