# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The image, built and run where a container engine is.

``GEARHORN_ENGINE`` is its command, with options if it needs any; ``podman`` or ``docker`` unless
given. ``GEARHORN_ENGINE_BUILD`` and ``GEARHORN_ENGINE_RUN`` are further arguments for both steps,
as for a mirror or another base image.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import gearhorn
from gearhorn.tests.cli import COMMAND
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

BUILD_S = 900.0

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(BUILD_S + 300)]

ROOT = Path(gearhorn.__file__).parents[1]


class Engine:
    """An engine that works."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __call__(self, *arguments: str | Path, timeout_s: float = 120.0) -> str:
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(
        self, *arguments: str | Path, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )


@pytest.fixture(scope="module")
def engine() -> Engine:
    given = os.environ.get("GEARHORN_ENGINE")
    for command in [shlex.split(given)] if given else [["podman"], ["docker"]]:
        found = Engine(command)
        try:
            if found.run("info", timeout_s=30).returncode == 0:
                return found
        except (OSError, subprocess.TimeoutExpired):
            continue
    pytest.skip("there is no container engine that works")


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, of a copy of what its build sees."""
    more = shlex.split(os.environ.get("GEARHORN_ENGINE_BUILD", ""))
    base = next((part for part in more if part.startswith("PYTHON=")), None)
    if base is None and engine.run("pull", "docker.io/library/python:3.13-slim").returncode != 0:
        pytest.skip("the base image cannot be had here")
    context = tmp_path_factory.mktemp("context")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*wheel, "--wheel-dir", context / "dist", ROOT], check=True, timeout=300)
    for name in ("Containerfile", ".dockerignore", "deploy/gearhorn.conf"):
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_bytes((ROOT / name).read_bytes())
    name = f"gearhorn-test-{uuid.uuid4().hex[:8]}"
    file = context / "Containerfile"
    engine("build", "--tag", name, "--file", file, *more, context, timeout_s=BUILD_S)
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
