# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""SIGHUP with a configuration that has changed, under a daemon that serves."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.http import ask
from gearhorn.tests.functional.test_security_renewal import Front
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

CHANGED = "SIGHUP: log files are opened anew; changed: "
REFUSED = "SIGHUP: nothing is changed, as the configuration is wrong: "
KEPT = "SIGHUP: not changed, as that needs a restart; the old value goes on: "


def said(daemon: Daemon, what: str) -> list[str]:
    """The ends of all lines of its log that have this."""
    return [line.partition(what)[2] for line in daemon.log.splitlines() if what in line]


def reload(daemon: Daemon, outcome: str = CHANGED, /, **options: object) -> str:
    """Have it read other options, and return what it says of them."""
    before = len(said(daemon, outcome))
    daemon.configure(**options)
    daemon.signal(signal.SIGHUP)
    return eventually(lambda: said(daemon, outcome)[before:])[0]


@pytest.fixture
def one(daemon: NewDaemon) -> Daemon:
    options: dict[str, Any] = {"DEFAULT.debug": False}
    return daemon(**options)


@pytest.fixture
def memos(one: Daemon, gearmand: Gearmand, new_topic: NewTopic) -> Topic:
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    return topic


def test_one_line_says_what_has_changed_and_from_what(one: Daemon) -> None:
    changed = reload(one, **{"fanout.max_in_flight": 7, "limits.max_waiting": 500})
    assert changed == (
        "[fanout] max_in_flight = 7 (was 1000), [limits] max_waiting = 500 (was 100000)"
    )
    assert reload(one) == "nothing"
    assert reload(one, **{"DEFAULT.debug": True}) == "[DEFAULT] debug = True (was False)"


def test_what_needs_a_restart_is_named_each_time_and_without_secrets(
    one: Daemon, memos: Topic
) -> None:
    secret = {"store.url": "redis://:pass-word@127.0.0.1:1/0", "functions.fanout": "send"}
    kept = reload(one, KEPT, **secret, **{"fanout.timeout": 5})
    assert kept == "[functions] fanout = send (was fanout), [store] url = **** (was ****)"
    assert said(one, CHANGED)[-1] == "[fanout] timeout = 5.0 (was 60.0)"
    assert reload(one, KEPT) == kept
    assert "pass-word" not in one.log
    # It goes on with the old ones.
    assert memos.reached() == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"fanout.timeout": "soon"}, "[fanout] timeout: "),
        ({"fanout.max_timeout": 5}, "[fanout] timeout: 60 is above max_timeout, 5"),
        ({"limits.max_waiting": 3}, "[limits] max_waiting: 3 is neither 0 nor at least 100"),
        ({"http.listen": "somewhere"}, "[http] listen: 'somewhere' is no address"),
        ({"gearman.tls_ca": "/nowhere"}, "[gearman] tls_ca, tls_cert, tls_key: "),
        (
            {"DEFAULT.log_file": "/nowhere/log"},
            "logging cannot be set up: [DEFAULT] log_file: /nowhere/log: No such file or "
            "directory, in ",
        ),
        (
            {"DEFAULT.use_syslog": True, "DEFAULT.syslog_log_facility": "here"},
            "[DEFAULT] syslog_log_facility: here is none of LOG_USER, ",
        ),
        (
            {"DEFAULT.log_config_append": "/nowhere/log"},
            "[DEFAULT] log_config_append: /nowhere/log cannot be read: No such file or directory, "
            "in ",
        ),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(
    one: Daemon, memos: Topic, wrong: dict[str, object], told: str
) -> None:
    fault = reload(one, REFUSED, **wrong, **{"fanout.max_in_flight": 1})
    assert told in fault
    assert not said(one, CHANGED)
    changed = reload(one, **dict.fromkeys(wrong))
    assert changed == "[fanout] max_in_flight = 1 (was 1000)"
    assert memos.reached() == 1


def test_every_fault_is_named_with_its_file(one: Daemon) -> None:
    wrong = {"fanout.order": "any", "limits.max_waiting": 3, "gearman.severs": "here"}
    fault = reload(one, REFUSED, **wrong)
    options = ("[gearman] severs: ", "[fanout] order: ", "[limits] max_waiting: ")
    for part, option in zip(fault.split("; "), options, strict=True):
        assert part.startswith(option)
        assert part.endswith(f", in {one.config_file}")


def test_an_address_of_http_that_is_taken_changes_nothing(one: Daemon, gearmand: Gearmand) -> None:
    fault = reload(one, REFUSED, **{"http.listen": gearmand.address, "fanout.max_in_flight": 1})
    assert fault == f"[http] listen: {gearmand.address}: Address already in use"
    assert reload(one, **{"http.listen": None, "fanout.max_in_flight": None}) == "nothing"


def test_http_is_turned_on_moved_and_turned_off(one: Daemon) -> None:
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    assert reload(one, **{"http.listen": first}) == f"[http] listen = {first} (was not set)"
    assert ask(one, "/readyz").status == 200
    reload(one, **{"http.listen": second, "fanout.max_in_flight": 7})
    status = ask(one, "/status.json").text
    assert '"[fanout] max_in_flight": "7"' in status
    assert '"most_fanouts": 7' in status
    assert "gearhorn_fanouts_in_flight_limit 7" in ask(one, "/metrics").text
    one.options["http.listen"] = first
    with pytest.raises(ConnectionRefusedError):
        ask(one, "/")
    one.options["http.listen"] = second
    assert reload(one, **{"fanout.timeout": 5}) == "[fanout] timeout = 5.0 (was 60.0)"
    assert '"[fanout] timeout": "5.0"' in ask(one, "/status.json").text
    changed = reload(one, **{"http.queue_interval": 60, "http.top_topics": 3})
    assert changed == ("[http] queue_interval = 60.0 (was not set), [http] top_topics = 3 (was 20)")
    eventually(lambda: "gearhorn_queues{" in ask(one, "/metrics").text)
    reload(one, **{"http.queue_interval": None})
    assert "gearhorn_queues{" not in ask(one, "/metrics").text
    gone = dict(one.options)
    reload(one, **{"http.listen": None})
    one.options = gone
    with pytest.raises(ConnectionRefusedError):
        ask(one, "/")


def row(memos: Topic, query: str, **fields: str) -> dict[str, Any]:
    report = memos.client.submit("fanout_query", {"query": query, **fields}).report
    (found,) = report["rows"]
    return dict(found)


def test_limits_are_lowered_and_lifted_while_fan_outs_run(one: Daemon, memos: Topic) -> None:
    def failed() -> dict[str, str]:
        failures: dict[str, str] = memos.publish(background=True).report["failed"]
        return failures

    for _ in range(110):
        assert not failed()
    reload(one, **{"limits.max_waiting": 100})
    eventually(lambda: failed() == {"bob": "queue_full"})
    waiting = memos.waiting("bob")
    # It stays full where other limits change, though nothing is published.
    reload(one, **{"limits.warn_waiting": 50})
    assert row(memos, "subscribers", topic=memos.name)["full"]
    # Another daemon would learn of the limit by the entry.
    assert row(memos, "status")["limits"]["max_waiting"] == 100
    assert memos.waiting("bob") == waiting
    reload(one, **{"limits.max_waiting": 0})
    eventually(lambda: not failed())
    assert memos.waiting("bob") > waiting


def test_windows_that_are_lowered_and_lifted_lose_nothing(one: Daemon, memos: Topic) -> None:
    handles = [memos.start(n, timeout=60) for n in range(10)]
    eventually(lambda: memos.waiting("bob") == 10)
    reload(one, **{"fanout.max_in_flight": 1, "fanout.max_open_fanouts": 10})
    assert memos.publish("late").refusal == "too_many_open"
    reload(one, **{"fanout.max_in_flight": 1000, "fanout.max_open_fanouts": None})
    handles.append(memos.start("late", timeout=60))
    worker = memos.receiver("bob")
    for _ in handles:
        worker.complete(worker.grab())
    assert all(memos.client.finish(handle).report["delivered"] == 1 for handle in handles)


def test_fan_outs_that_wait_for_their_turn_get_it_by_a_wider_window(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {"fanout.max_in_flight": 1}
    one = daemon(**options)
    memos = new_topic(gearmand)
    memos.subscribe("bob")
    handles = [memos.start(n, timeout=60) for n in range(3)]
    eventually(lambda: memos.waiting("bob") == 1)
    reload(one, **{"fanout.max_in_flight": 10})
    eventually(lambda: memos.waiting("bob") == 3)
    worker = memos.receiver("bob")
    for _ in handles:
        worker.complete(worker.grab())
    assert all(memos.client.finish(handle).completed for handle in handles)


def test_timeouts_hold_for_what_comes_then(one: Daemon, memos: Topic) -> None:
    reload(one, **{"fanout.timeout": 0.2, "fanout.max_timeout": 1, "store.timeout": 2})
    assert memos.publish().report["failed"] == {"bob": "timeout"}
    assert "timeout may be at most 1 s here" in memos.publish(timeout=2).report["message"]


def test_other_tls_files_are_used_for_the_next_connection(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, tmp_path: Path
) -> None:
    front = start(Front(gearmand))
    one = daemon([front.address], **front.options)
    names = [name for name in front.options if ".tls_" in name]
    elsewhere = {name: tmp_path / Path(front.options[name]).name for name in names}
    front.renew()
    for name, path in zip(
        names, (front.ca, front.client_certificate, front.client_key), strict=True
    ):
        elsewhere[name].write_bytes(path.read_bytes())
    eventually(lambda: "certificate verify failed" in one.log)
    changed = reload(one, **elsewhere)
    assert changed.startswith(f"[gearman] tls_ca = {elsewhere[names[0]]} (was ")
    eventually(lambda: one.log.count(f"{front.address}: connected") == 2)
    assert new_topic(gearmand).reached() == 0
    # Of the same names the files are read again as ever.
    assert reload(one) == "nothing"
    elsewhere[names[0]].write_text("nothing")
    reload(one)
    assert "TLS files have changed and cannot be used yet" in one.log


def test_a_signal_while_it_starts_is_acted_on(daemon: NewDaemon, start: Start) -> None:
    port = free_port()
    one = daemon([f"127.0.0.1:{port}"], wait_ready=False)
    eventually(lambda: f"job server 127.0.0.1:{port}: away" in one.log)
    reload(one, **{"fanout.max_in_flight": 7})
    start(Gearmand(port=port))
    one.wait_ready()
    assert not [line for line in one.notifications if line.startswith("RELOADING")]
    assert reload(one) == "nothing"


def test_a_signal_while_it_drains_is_acted_on(one: Daemon, memos: Topic) -> None:
    worker = memos.receiver("bob")
    handle = memos.start(timeout=60)
    copy = worker.grab()
    one.terminate()
    one.wait_notification("STOPPING=1")
    reload(one, **{"fanout.max_in_flight": 7, "store.timeout": 4})
    worker.complete(copy)
    assert memos.client.finish(handle).completed
    assert one.wait() == 0
    assert not [line for line in one.notifications if line.startswith("RELOADING")]


def test_two_quick_signals_end_in_what_the_file_says(one: Daemon, memos: Topic) -> None:
    for size in range(1, 21):
        one.configure(**{"fanout.max_in_flight": size})
        one.signal(signal.SIGHUP)
    eventually(lambda: any("= 20 (was" in line for line in said(one, CHANGED)))
    # Each goes on from where the last one ended.
    steps = re.findall(r"max_in_flight = (\d+) \(was (\d+)\)", "\n".join(said(one, CHANGED)))
    assert [before for _, before in steps[1:]] == [now for now, _ in steps[:-1]]
    assert memos.reached() == 1
    assert one.stop() == 0


def test_a_service_manager_is_told_when_a_reload_begins_and_ends(one: Daemon) -> None:
    del one.notifications[:]
    reload(one)
    one.wait_notification("READY=1")
    begun = one.notifications.index("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", one.notifications[begun + 1])
    assert one.notifications.index("READY=1") > begun


def test_a_standalone_daemon_keeps_its_own_job_server(daemon: NewDaemon, tmp_path: Path) -> None:
    options: dict[str, Any] = {"standalone.port": free_port(), "standalone.directory": tmp_path}
    one = daemon(["unused"], "sqlite:///unused", "x", arguments=["--standalone"], **options)
    assert reload(one, **{"fanout.max_in_flight": 7}) == "[fanout] max_in_flight = 7 (was 1000)"
    assert one.stop() == 0


def test_sqlite_takes_another_timeout(daemon: NewDaemon, tmp_path: Path) -> None:
    one = daemon(store_url=f"sqlite://{tmp_path}/store.db")
    assert reload(one, **{"store.timeout": 2}) == "[store] timeout = 2.0 (was 5.0)"
    assert "unexpected" not in one.log


def test_a_daemon_that_was_reloaded_differs_from_no_other(
    daemon: NewDaemon, redis_server: Redis, memos: Topic, one: Daemon
) -> None:
    reload(one, **{"limits.max_waiting": 500})
    limits: dict[str, Any] = {"limits.max_waiting": 500}
    eventually(lambda: "500" in redis_server.ask(*_entry(one)))
    two = daemon(**limits)
    rows = memos.client.submit("fanout_query", {"query": "daemons"}).report["rows"]
    assert [row["differs"] for row in rows] == [[], []]
    assert "has [limits] max_waiting" not in one.log + two.log


def _entry(one: Daemon) -> tuple[str, ...]:
    return ("HGETALL", f"{one.options['store.key_prefix']}settings")


def test_a_directory_that_was_left_is_where_paths_begin(background: Daemon, tmp_path: Path) -> None:
    background.start(wait_ready=False)
    assert background.wait() == 0
    log = tmp_path / "log"
    eventually(lambda: log.exists() and "is ready" in log.read_text())
    background.configure(**{"fanout.max_in_flight": 7})
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGHUP)
    eventually(lambda: "[fanout] max_in_flight = 7 (was 1000)" in log.read_text())
