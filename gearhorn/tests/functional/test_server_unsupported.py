# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job server that lacks GRAB_JOB_UNIQ, as very old ones do: named, and not used."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Iterator

import pytest

from gearhorn import Publisher, errors
from gearhorn.tests import packets as wire
from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

GRAB_JOB, OPTION_REQ, OPTION_RES = 9, 26, 27


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with_answer = {wire.ECHO_REQ: wire.ECHO_RES, OPTION_REQ: OPTION_RES, GRAB_JOB: wire.NO_JOB}
    try:
        while start := await reader.read(1):
            if start != b"\0":
                command = start + await reader.readline()
                writer.write(b".\n" if command.strip() == b"status" else b"OK 0.14\n")
                continue
            packet_type, size = struct.unpack(">3xII", await reader.readexactly(11))
            body = await reader.readexactly(size)
            answer = with_answer.get(packet_type)
            if packet_type == wire.GRAB_JOB_UNIQ:
                answer, body = wire.ERROR, b"unknown_command\0Unknown server command"
            if answer is not None:
                writer.write(struct.pack(">4sII", b"\0RES", answer, len(body)) + body)
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


@pytest.fixture
def old_server() -> Iterator[str]:
    """The address of one."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def end() -> None:
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        # Connections are closed in the next turn of the loop.
        await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_the_daemon_names_it_and_uses_the_others(
    daemon: NewDaemon, gearmand: Gearmand, old_server: str, new_topic: NewTopic
) -> None:
    one = daemon([old_server, gearmand])
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    assert topic.publish(background=True).report["queued"] == 1
    line = f"job server {old_server}: away (unsupported: it answers GRAB_JOB_UNIQ with"
    eventually(lambda: line in one.log)
    assert "use gearmand 1.1.20 or later" in one.log


def test_doctor_names_it(daemon: NewDaemon, gearmand: Gearmand, old_server: str) -> None:
    daemon([old_server, gearmand])
    done = gearhorn(
        [old_server, gearmand.address], "doctor", "--interval", "0.1", "--format", "json"
    )
    (finding,) = [
        finding
        for finding in json.loads(done.stdout)["findings"]
        if finding["check"] == "server-unsupported"
    ]
    assert finding["subject"] == old_server
    assert finding["level"] == "error"
    assert "GRAB_JOB_UNIQ" in finding["text"]


def test_a_publisher_does_not_count_it(old_server: str, caplog: pytest.LogCaptureFixture) -> None:
    with Publisher(old_server, connect_timeout=0.5) as publisher, pytest.raises(errors.NoServer):
        publisher.publish("memos", "hello")
    eventually(lambda: "use gearmand 1.1.20 or later" in caplog.text)
