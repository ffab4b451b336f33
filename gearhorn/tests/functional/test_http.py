# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Probes, metrics and the page over HTTP, as kubelet, Prometheus and people see them."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gearhorn.tests.builders import encoded, message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, show_log
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.command import run, write
from gearhorn.tests.functional.http import Answer, ask, connect, metric
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

HOSTILE = '<script>alert("1")</script>&\u202e'


@pytest.fixture(scope="module")
def _shown(_shared_redis: Redis) -> Iterator[Daemon]:
    with Gearmand() as gearmand:
        options = {
            "gearman.servers": [gearmand.address, f"127.0.0.1:{free_port()}"],
            "store.url": _shared_redis.url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
            "http.listen": f"127.0.0.1:{free_port()}",
        }
        constants = {"gearhorn.service.http.TIMEOUT_S": 3.0}
        with Daemon(options, constants=constants) as process:
            # Names that come from strangers: a daemon's, and what the log says of requests.
            with Peer(gearmand.port) as client:
                client.submit("fanout", {"topic": HOSTILE, "payload": 1, HOSTILE: 1})
                client.submit("register_fanout_subscriber", subscription("t", "bob"))
                client.submit("fanout", {"topic": "t", "payload": "12", "background": True})
            yield process


@pytest.fixture
def shown(_shown: Daemon, request: pytest.FixtureRequest) -> Daemon:
    """A daemon that serves HTTP, with one of its two job servers away: leave it alone."""
    show_log(request.node, _shown)
    return _shown


# What is asked for.


def test_probes_of_a_daemon_that_serves(shown: Daemon) -> None:
    for path in ("/livez", "/healthz", "/readyz", "/startupz"):
        answer = ask(shown, path)
        assert (answer.status, answer.text) == (200, "ok\n")

    checks = ask(shown, "/readyz?verbose").text.splitlines()

    assert [line.partition(":")[0] for line in checks] == [
        "[+] started",
        "[+] draining",
        "[+] job-servers",
        "[+] store",
        "ok",
    ]


def test_metrics_that_monitoring_can_read(shown: Daemon) -> None:
    answer = ask(shown, "/metrics")

    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert 300 < len(values) < 650
    background = ("mode", "background")
    assert values["gearhorn_fanouts_total", background, ("outcome", "ok")] == 1
    # What has not happened is there all the same.
    assert values["gearhorn_fanouts_total", background, ("outcome", "abandoned")] == 0
    assert values["gearhorn_fanout_copies_bucket", ("le", "1.0"), background] == 1
    assert values["gearhorn_fanout_copies_bucket", ("le", "0.0"), background] == 0
    assert values["gearhorn_fanout_copies_sum", background] == 1
    assert values["gearhorn_copied_bytes_total",] == 2
    assert values["gearhorn_ready",] == 1
    assert values["gearhorn_store_up",] == 1
    away = str(shown.options["gearman.servers"][1])  # type: ignore[index]
    assert values["gearhorn_job_server_up", ("role", "copies"), ("server", away)] == 0
    assert values["gearhorn_daemons", ("state", "live")] == 1
    assert values["gearhorn_log_records_total", ("level", "warning")] > 0
    assert families["process_resident_memory_bytes"].samples
    assert HOSTILE not in answer.text
    assert "bob" not in answer.text


def test_the_status_for_programs(shown: Daemon) -> None:
    status = json.loads(ask(shown, "/status.json").text)

    away = str(shown.options["gearman.servers"][1])  # type: ignore[index]
    assert status["ready"] is True
    assert status["level"] == "warning"
    (remark,) = [check for check in status["checks"] if not check["ok"]]
    assert away in remark["text"]
    assert "[gearman] servers" in remark["advice"]
    assert [daemon["worker_id"] for daemon in status["daemons"]] == [shown.worker_id]
    assert status["totals"]["copies_queued"] == 1
    assert any(HOSTILE[:-1] in line["text"] for line in status["warnings"])
    assert status["configuration"]["[store] url"] == "****"
    assert status["configuration"]["[http] listen"] == shown.options["http.listen"]


def test_the_page_for_people(shown: Daemon) -> None:
    answer = ask(shown, "/")

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; style-src 'sha256-" in answer.headers["Content-Security-Policy"]
    assert shown.worker_id in answer.text
    assert "It serves, and something needs attention." in answer.text
    assert "&lt;script&gt;alert(" in answer.text
    assert "<script" not in answer.text


# What HTTP asks for.


def test_head_is_answered_like_get_without_the_body(shown: Daemon) -> None:
    head, get = ask(shown, "/livez", "HEAD"), ask(shown, "/livez")
    assert head.body == b""
    assert {**head.headers, "Date": ""} == {**get.headers, "Date": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_nothing_can_be_changed(shown: Daemon, method: str) -> None:
    answer = ask(shown, "/", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("target", ["/nope", "/livez/", "//livez", "/../etc/passwd", "/LIVEZ", "*"])
def test_other_paths_are_not_there(shown: Daemon, target: str) -> None:
    assert ask(shown, target).status == 404


def test_a_proxy_may_name_the_whole_address(shown: Daemon) -> None:
    assert ask(shown, "http://somewhere/livez?x=1").status == 200


def raw(process: Daemon, data: bytes) -> Answer:
    """Send bytes and return the answer to them."""
    with connect(process) as client:
        client.sendall(data)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


def test_a_head_of_more_than_8_kib_is_refused(shown: Daemon) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
    empty = len(request % b"")
    assert raw(shown, request % (b"x" * (8192 - empty))).status == 200
    assert raw(shown, request % (b"x" * (8193 - empty))).status == 431


@pytest.mark.parametrize(
    "data",
    [b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/x\r\n\r\n"],
)
def test_what_is_no_request_is_refused(shown: Daemon, data: bytes) -> None:
    assert raw(shown, data).status == 400


def test_a_body_is_not_waited_for(shown: Daemon) -> None:
    data = b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    assert raw(shown, data).status == 200


def test_slow_clients_are_cut_off_and_hold_nobody_up(shown: Daemon) -> None:
    slow = [connect(shown) for _ in range(16)]
    try:
        for client in slow:
            client.sendall(b"GET / HT")
        # All sixteen places are taken until their time is up.
        assert eventually(lambda: ask(shown, "/livez").status == 503, interval_s=0.001)
        assert eventually(lambda: ask(shown, "/livez").status == 200)
        for client in slow:
            # Nothing came, or the word that there are too many.
            with contextlib.suppress(ConnectionResetError):
                assert b"200 OK" not in b"".join(iter(functools.partial(client.recv, 4096), b""))
    finally:
        for client in slow:
            client.close()


# Where, and whether.


def test_nothing_is_served_or_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, gearhorn.cmd.serve\n"
        "print([name for name in ('h11', 'prometheus_client') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_port_that_is_taken_ends_with_78(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("--config", write(tmp_path / "conf", f"[http]\nlisten = {listen}\n"))
    assert done.returncode == 78
    assert f"[http] listen: {listen}: Address already in use" in done.stderr


def test_a_unix_socket_and_the_one_that_a_killed_daemon_left(
    daemon: NewDaemon, gearmand: Gearmand, tmp_path: Path
) -> None:
    path = Path(f"/tmp/gearhorn-{uuid.uuid4().hex[:8]}")
    options = {"http.listen": f"unix:{path}"}
    one = daemon([gearmand], None, None, **options)  # type: ignore[arg-type]
    assert ask(one, "/readyz").status == 200
    done = run("--config", write(tmp_path / "conf", f"[http]\nlisten = unix:{path}\n"))
    assert done.returncode == 78
    one.kill()
    assert path.exists()

    two = daemon([gearmand], None, None, **options)  # type: ignore[arg-type]

    assert ask(two, "/readyz").status == 200
    assert two.stop() == 0
    assert not path.exists()


# A daemon that does not serve.


def test_probes_of_a_daemon_whose_store_is_away(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, peer: NewPeer, tmp_path: Path
) -> None:
    process = daemon(
        [gearmand],
        redis.url,
        None,
        **{"http.listen": f"127.0.0.1:{free_port()}"},  # type: ignore[arg-type]
    )
    redis.kill()
    request = message("t", "x" * 1000, background=True)
    peer().start("register_fanout_subscriber", subscription("t", "bob"))
    peer().start("fanout", request)

    answer = eventually(lambda: (a := ask(process, "/readyz")).status == 503 and a)

    assert isinstance(answer, Answer)
    assert answer.text.startswith("[-] store: store_away: ")
    assert "Check that it runs and can be reached" in answer.text
    assert ask(process, "/livez").status == 200
    assert ask(process, "/startupz").status == 200
    assert metric(process, 'store_fault{code="store_away"}') == 1
    eventually(lambda: metric(process, 'fanouts_waiting{for="list"}') == 1)
    eventually(lambda: metric(process, "store_calls_waiting") >= 2)
    assert metric(process, "held_bytes") == len(encoded(request))
    assert metric(process, "oldest_fanout_seconds") > 0
    # The same question from the command line, as an image without curl asks it.
    config = str(process.config_file)
    assert run("--config", config, "--probe", "live").returncode == 0
    done = run("--config", config, "--probe", "ready")
    assert done.returncode == 1
    assert "[-] store: store_away: " in done.stdout
    assert "[+] started: " in done.stdout


def test_a_daemon_that_waits_for_its_store_is_live_and_has_not_started(
    daemon: NewDaemon, gearmand: Gearmand
) -> None:
    process = daemon(
        [gearmand],
        f"redis://127.0.0.1:{free_port()}/0",
        wait_ready=False,
        **{"http.listen": f"127.0.0.1:{free_port()}"},  # type: ignore[arg-type]
    )
    eventually(lambda: "on 127.0.0.1" in process.log)
    assert ask(process, "/livez").status == 200
    assert ask(process, "/startupz").status == 503
    assert ask(process, "/").status == 200


def test_a_daemon_that_drains_is_not_ready(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    process = daemon([gearmand], None, None, **{"http.listen": f"127.0.0.1:{free_port()}"})  # type: ignore[arg-type]
    assert (metric(process, "ready"), metric(process, "draining")) == (1, 0)
    client = peer()
    client.submit("register_fanout_subscriber", subscription("t", "alice"))
    client.submit("register_fanout_subscriber", subscription("t", "bob"))
    client.start("fanout", message("t", "", timeout=30, gather=True))
    worker = peer()
    worker.can_do("t_alice", "t_bob")
    worker.complete(worker.grab(), "x" * 100)
    job = worker.grab()
    # As JSON the result has its quotes.
    eventually(lambda: metric(process, "gathered_bytes") == 102)
    process.terminate()
    process.wait_notification("STOPPING=1")

    answer = ask(process, "/readyz")

    assert answer.status == 503
    assert answer.text.startswith("[-] draining: ")
    # As monitoring sees it, which does not probe.
    assert (metric(process, "ready"), metric(process, "draining")) == (0, 1)
    assert ask(process, "/livez").status == 200
    worker.complete(job)
    assert process.wait() == 0


def test_a_probe_of_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    config = write(tmp_path / "conf", f"[http]\nlisten = 127.0.0.1:{free_port()}\n")
    done = run("--config", config, "--probe", "live")
    assert done.returncode == 1
    assert "no answer on 127.0.0.1:" in done.stdout
    done = run("--config", write(tmp_path / "conf", ""), "--probe", "live")
    assert done.returncode == 78
    assert "[http] listen, which is not set" in done.stderr
