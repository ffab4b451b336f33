# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The image and the Compose file, built and run where a container engine is.

``GEARHORN_ENGINE`` is its command, with options if it needs any; ``podman`` or ``docker`` unless
given. ``GEARHORN_ENGINE_BUILD`` and ``GEARHORN_ENGINE_RUN`` are further arguments for both steps,
as for a mirror or another base image. Compose takes those for building, and so has to know them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import pytest

import gearhorn
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.cli import COMMAND
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

BUILD_S = 900.0

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(BUILD_S + 300)]

ROOT = Path(gearhorn.__file__).parents[1]


class Engine:
    """An engine that works."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.command = command

    def __call__(self, *arguments: str | Path, timeout_s: float = 120.0) -> str:
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(
        self, *arguments: str | Path, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, self.command), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )


def engines() -> Iterator[Engine]:
    """Yield the engines that work."""
    given = os.environ.get("GEARHORN_ENGINE")
    for command in [shlex.split(given)] if given else [["podman"], ["docker"]]:
        found = Engine(command)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if found.run("info", timeout_s=30).returncode == 0:
                yield found


@pytest.fixture(scope="module")
def engine() -> Engine:
    for found in engines():
        return found
    pytest.skip("there is no container engine that works")


BASES = {
    "PYTHON": "docker.io/library/python:3.13-slim",
    "DEBIAN": "docker.io/library/debian:bookworm-slim",
}
"""The base image that each argument of a build replaces."""
MORE = shlex.split(os.environ.get("GEARHORN_ENGINE_BUILD", ""))


def base(argument: str) -> str | None:
    """Return the base image of a build, ``None`` if another is given."""
    given = any(part.startswith(f"{argument}=") for part in MORE)
    return None if given else BASES[argument]


def need(engine: Engine, *images: str | None) -> None:
    """Skip the test unless these images can be had; ``None`` is one that is there."""
    for image in images:
        if image is not None and engine.run("pull", image).returncode != 0:
            pytest.skip(f"the image {image} cannot be had here")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the builds see."""
    context = tmp_path_factory.mktemp("context")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*wheel, "--wheel-dir", context / "dist", ROOT], check=True, timeout=300)
    deploy = ("gearhorn.conf", "gearmand.Containerfile", "compose.yaml")
    for name in ("Containerfile", ".dockerignore", *(f"deploy/{one}" for one in deploy)):
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_bytes((ROOT / name).read_bytes())
    return context


@pytest.fixture(scope="module")
def image(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    """The image, of a copy of what its build sees."""
    need(engine, base("PYTHON"))
    context = request.getfixturevalue("context")
    name = f"gearhorn-test-{uuid.uuid4().hex[:8]}"
    file = context / "Containerfile"
    engine("build", "--tag", name, "--file", file, *MORE, context, timeout_s=BUILD_S)
    yield name
    engine.run("rmi", "--force", name)


def test_the_image_serves_is_asked_and_drains(
    engine: Engine, image: str, gearmand: Gearmand, redis_server: Redis, key_prefix: str
) -> None:
    name = f"gearhorn-test-{uuid.uuid4().hex[:8]}"
    variables = {
        "OS_GEARMAN__SERVERS": gearmand.address,
        "OS_STORE__URL": redis_server.url,
        "OS_STORE__KEY_PREFIX": key_prefix,
        "OS_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
    }
    environment = [part for pair in variables.items() for part in ("--env", "=".join(pair))]
    hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    more = shlex.split(os.environ.get("GEARHORN_ENGINE_RUN", ""))
    run = ("run", "--detach", "--name", name, "--network", "host", *hardened, *environment)
    engine(*run, *more, image)
    try:
        probe = ("exec", name, "gearhorn-fanout", "--probe")
        assert eventually(lambda: engine.run(*probe, "ready").returncode == 0, 60.0, interval_s=0.5)
        assert engine(*probe, "live").endswith("ok\n")
        assert engine("exec", name, "id", "-u").strip() == "10001"
        # The command in the image, and one outside of it.
        register = ("register", "memos", "bob")
        inside = ("exec", "--env", f"GEARHORN_SERVERS={gearmand.address}", name, "gearhorn")
        assert "bob receives memos" in engine(*inside, *register)
        topics = [*COMMAND, "--server", gearmand.address, "topics"]
        assert b"memos" in subprocess.run(topics, stdout=subprocess.PIPE, timeout=60).stdout

        engine("stop", "--time", "45", name)

        state = engine("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name)
        assert state.strip() == "exited 0"
        log = engine("logs", name)
        assert "SIGTERM: draining" in log
        assert "has stopped" in log
    finally:
        engine.run("rm", "--force", name)


# Compose.

SERVER_PORT, DAEMON_PORTS = 4730, (9419, 9420)
"""The ports in the file."""


class Compose(Engine):
    """What the Compose file has, under names and on ports of its own."""

    def __init__(self, engine: Engine, context: Path) -> None:
        self.name = f"gearhorn-test-{uuid.uuid4().hex[:8]}"
        self.ports: dict[int, int] = {}
        """The port of this machine that stands for each in the file."""
        text = (context / "deploy/compose.yaml").read_text()
        # An operator's own images and containers stay as they are.
        text = re.sub(r"(?m)^( *image: )gearhorn", rf"\1{self.name}", text)
        text = re.sub(r"127\.0\.0\.1:(\d+):", self._another_port, text)
        file = context / "deploy/compose.test.yaml"
        file.write_text(text)
        super().__init__([*engine.command, "compose", "--project-name", self.name, "--file", file])

    def _another_port(self, found: re.Match[str]) -> str:
        port = self.ports[int(found[1])] = free_port()
        return f"127.0.0.1:{port}:"

    def until_it_answers(self, port: int, path: str, wanted: str) -> None:
        """Return once the answer of a daemon over HTTP has this."""
        url = f"http://127.0.0.1:{self.ports[port]}{path}"

        def answers() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return wanted in answer.read().decode()
            except (OSError, HTTPException):
                return False

        eventually(answers, 120, interval_s=0.5)


@pytest.fixture
def compose(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Compose]:
    """The Compose file, of which nothing runs yet."""
    nothing = tmp_path / "compose.yaml"
    nothing.write_text("services: {nothing: {image: nothing}}\n")
    asks = ("compose", "--file", nothing, "ps")
    engine = next((one for one in engines() if one.run(*asks).returncode == 0), None)
    if engine is None:
        pytest.skip("there is no container engine with Compose that works")
    need(engine, base("PYTHON"), base("DEBIAN"), "docker.io/library/redis:7")
    made = Compose(engine, request.getfixturevalue("context"))
    try:
        yield made
    finally:
        made.run("down", "--volumes", "--timeout", "45")
        engine.run("rmi", "--force", made.name, f"{made.name}-gearmand")


def test_what_compose_brings_up_passes_a_message_on_and_drains(compose: Compose) -> None:
    compose("build", *MORE, timeout_s=BUILD_S)
    compose("up", "--detach", "--no-build")
    for port in DAEMON_PORTS:
        compose.until_it_answers(port, "/readyz", "ok\n")
        # They share the store.
        compose.until_it_answers(port, "/metrics", 'gearhorn_daemons{state="live"} 2.0\n')

    with Peer(compose.ports[SERVER_PORT]) as client, Peer(compose.ports[SERVER_PORT]) as worker:
        assert client.submit("register_fanout_subscriber", subscription("memos", "bob")).completed
        handle = client.start("fanout", message("memos", "hello"))
        worker.can_do("memos_bob")
        copy = worker.grab()
        assert copy.data == b"hello"
        worker.complete(copy)
        assert client.finish(handle).report["delivered"] == 1

    compose("stop", "--timeout", "45")
    for daemon in ("daemon-1", "daemon-2"):
        log = compose("logs", daemon)
        assert "SIGTERM: draining" in log
        assert "has stopped" in log
