# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a live daemon says of itself: a report at SIGUSR1, and its state to systemd."""

from __future__ import annotations

import re
from typing import Any

from gearhorn.service import report
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.live_reports import report_of
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand


def test_a_report_says_what_it_holds_and_what_it_waits_for(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {"fanout.max_in_flight": 1}
    one = daemon(**options)
    memos = new_topic(gearmand)
    memos.subscribe("bob")
    for n in range(3):
        memos.start(n, timeout=60)
    eventually(lambda: memos.waiting("bob") == 1)
    found = eventually(lambda: _with(report_of(one), f"lane of '{memos.name}': 2 fan-outs wait"))
    text = "\n".join(found)
    assert found[0].startswith(f"daemon {one.worker_id}, gearhorn ")
    assert "store: ok, the store does what it is asked" in found
    assert "open in the foreground: 3, copies " in text
    assert "in hand: 3 fan-outs, of which 3 are outside the window" in text
    assert f"job server {gearmand.address}: connected for fanout, request, query" in text
    assert "leases: 1 lists of 1 subscribers" in text
    assert f"entry of daemon {one.worker_id}: live" in text
    # Down to what each task awaits, and not only its outermost coroutine.
    # Python 3.10 does not know the class.
    pool = r"(Pool\.)?"
    assert re.search(
        rf"^\d+ at {pool}_keep_connected:\d+ > {pool}_serve_connection:\d+", text, re.M
    )
    assert "hello" not in text


def _with(found: list[str], part: str) -> list[str]:
    return found if any(part in line for line in found) else []


def test_a_report_is_bounded_and_moves_no_cursor(
    daemon: NewDaemon, proxied_redis: Proxy, peer: NewPeer
) -> None:
    one = daemon(store_url=proxied_redis.url)
    client = peer()
    proxied_redis.stall()
    many = 3 * report.MOST
    for n in range(many):
        client.start("fanout", message(f"\u202e{n}", background=True))
        client.start("register_fanout_subscriber", subscription(f"t{n}", "bob"))
    eventually(lambda: _with(report_of(one), f"and {many - report.MOST} more lanes"))
    assert len(report_of(one)) < 200
    assert "\u202e" not in "".join(report_of(one))


def test_a_report_can_be_had_from_one_that_waits_at_its_start(daemon: NewDaemon) -> None:
    port = free_port()
    one = daemon([f"127.0.0.1:{port}"], wait_ready=False)
    eventually(lambda: f"job server 127.0.0.1:{port}: away" in one.log)
    assert f"job server 127.0.0.1:{port}: connected for nothing" in "\n".join(report_of(one))
    assert one.exit_code is None


def test_the_status_follows_the_state(
    daemon: NewDaemon, proxied_gearmand: Proxy, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {
        "gearman.reconnect_max": 0.2,
        "constants": {"gearhorn.service.states.LOOK_S": 0.05},
    }
    one = daemon([proxied_gearmand], **options)
    serving = f"STATUS=serving as {one.worker_id}"
    proxied_gearmand.cut()
    away = "but no job server is connected for fanout, request, read, query, notice, copies"
    one.wait_notification(f"{serving}, {away}")
    one.notifications.clear()
    proxied_gearmand.mend()
    one.wait_notification(serving)

    memos = new_topic(gearmand)
    memos.subscribe("bob")
    memos.start(timeout=60)
    worker = memos.receiver("bob")
    copy = worker.grab()
    one.terminate()
    one.wait_notification("STATUS=draining: 1 jobs in hand")
    worker.complete(copy)
    assert one.wait() == 0


def test_the_status_says_what_a_start_waits_for(daemon: NewDaemon) -> None:
    constants = {"gearhorn.service.states.LOOK_S": 0.05}
    one = daemon([f"127.0.0.1:{free_port()}"], wait_ready=False, constants=constants)
    one.wait_notification(
        "STATUS=starting: "
        "no job server is connected for fanout, request, read, query, notice, copies"
    )
