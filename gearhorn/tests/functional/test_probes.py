# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What is tried on a job server leaves nothing there, and disturbs nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from gearhorn import errors
from gearhorn.tests.conftest import NewPeer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand
from gearhorn.wire import probes
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

Probe = Callable[[Address, ConnectionSettings], Coroutine[None, None, object]]

PROBES = [probes.takes_turns, probes.deaths_until_dropped]


def address(server: Gearmand) -> Address:
    return Address(server.host, server.port)


@pytest.mark.parametrize("probe", PROBES)
async def test_many_at_once_do_not_disturb_each_other(
    gearmand: Gearmand, peer: NewPeer, probe: Probe
) -> None:
    peer().submit("memos_bob", "hello", background=True)
    answers = [probe(address(gearmand), ConnectionSettings()) for _ in range(20)]
    assert len(set(await asyncio.gather(*answers))) == 1
    assert gearmand.admin.status() == {"memos_bob": (1, 0, 0)}


@pytest.mark.parametrize("probe", PROBES)
async def test_one_that_is_given_up_leaves_nothing(gearmand: Gearmand, probe: Probe) -> None:
    gearmand.pause()
    with pytest.raises(errors.ServerLost):
        await probe(address(gearmand), ConnectionSettings(connect_timeout=0.3))
    gearmand.resume()
    # It reads all that was sent, and then this.
    eventually(lambda: gearmand.admin.status() == {})


@pytest.mark.parametrize("probe", PROBES)
async def test_a_server_that_is_away_is_not_tried(gearmand: Gearmand, probe: Probe) -> None:
    gearmand.kill()
    with pytest.raises(errors.ServerLost):
        await probe(address(gearmand), ConnectionSettings(connect_timeout=0.3))
