# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the unit tests: a job server that does what the test tells it, and its peers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gearhorn.tests.fake import FakeServer, fake_server
from gearhorn.tests.unit.grabbing import FAST, NewWorker, Worker
from gearhorn.tests.unit.submitting import Link
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


@pytest.fixture
async def new_worker(server: FakeServer) -> AsyncIterator[NewWorker]:
    """Starts a worker of the played job server, or of others."""
    async with AsyncExitStack() as stack:

        def start(
            *servers: Address,
            settings: ConnectionSettings = FAST,
            window: int = 1000,
            window_bytes: int = 1 << 30,
            max_bytes: int = 1 << 20,
        ) -> Worker:
            worker = Worker(settings, window, window_bytes, max_bytes)
            stack.push_async_callback(worker.close)
            worker.connect(servers or (server.address,))
            return worker

        yield start


@pytest.fixture
async def link(server: FakeServer) -> AsyncIterator[Link]:
    """A submitter that is connected to the played job server."""
    link = Link(server)
    yield await link.connected()
    await link.submitter.close()
