# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon as a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar

from gearhorn.tests.forkserver import Forked, fork_server
from gearhorn.tests.processes import START_TIMEOUT_S, Process


class FanoutCommand(Process):
    """``gearhorn-fanout``: forked, which takes less time, or executed."""

    program = "gearhorn-fanout"
    forked: ClassVar = True
    changed_environment: Mapping[str, str] = {}
    constants: Mapping[str, float] = {}
    """Other values for constants of modules, by their full names, as tests cannot wait so long."""

    def command_line(self) -> Sequence[str]:
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "gearhorn.cmd.serve", *self.command_line()]

    def _execute(self, log: IO[bytes]) -> subprocess.Popen[bytes] | Forked:
        # What the linker, malloc and Python look at is looked at when a program is executed. Only
        # for PYTHONPATH the fork server does what Python would, unless another release is there.
        changed = dict(self.changed_environment)
        path = changed.pop("PYTHONPATH", "")
        others = [Path(each, "gearhorn") for each in path.split(os.pathsep) if each]
        told = any(name.startswith(("LD_", "MALLOC_", "PYTHON")) for name in changed)
        told = told or any(package.exists() for package in others)
        if told or not self.forked:
            assert not self.constants
            return super()._execute(log)
        with open(os.devnull, "rb") as nothing:
            return fork_server().start(
                self.program,
                self.command_line(),
                cwd=self.directory,
                environment=self.environment(),
                stdin=nothing,
                stdout=log,
                stderr=log,
                constants=self.constants,
            )


class Daemon(FanoutCommand):
    """``gearhorn-fanout`` with a configuration file made of options by ``section.option``.

    An option that is None is left out, as ``gearman.worker_id`` has a default here.
    It says itself through NOTIFY_SOCKET when it is ready, as it would to systemd.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        defaults = {"gearman.worker_id": f"test-{uuid.uuid4().hex[:12]}"}
        self.options = {
            name: value for name, value in {**defaults, **options}.items() if value is not None
        }
        self.arguments = arguments
        self.config_file = self.directory / "gearhorn.conf"
        self._notify_path = self.directory / "notify"
        self._notify_socket: socket.socket | None = None
        self.changed_environment = environment or {}
        self.constants = constants or {}
        #: What it has told its service manager since its last start, line by line.
        self.notifications: list[str] = []

    @property
    def worker_id(self) -> str:
        """The worker id that it has since its last start, as it said when it was ready."""
        prefix = "STATUS=serving as "
        for line in self.notifications:
            if line.startswith(prefix):
                return line.removeprefix(prefix)
        raise AssertionError("it is not ready and has not told its worker id")

    def command_line(self) -> Sequence[str]:
        return ["--config-file", str(self.config_file), *self.arguments]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": str(self._notify_path), **self.changed_environment}

    def start(self, *, wait_ready: bool = True) -> None:
        """Start it; without ``wait_ready`` return at once, for one that cannot become ready."""
        self.config_file.write_text(_config(self.options))
        if self._notify_socket is not None:
            self._notify_socket.close()
            self._notify_path.unlink()
        self._notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_socket.bind(str(self._notify_path))
        self.notifications.clear()
        self._launch()
        if wait_ready:
            self.wait_ready()

    def configure(self, **options: object) -> None:
        """Write other options into its file, for a reload; ``None`` leaves one out."""
        self.options = {
            name: value for name, value in {**self.options, **options}.items() if value is not None
        }
        self.config_file.write_text(_config(self.options))

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        self.wait_notification("READY=1", timeout_s)

    def wait_notification(self, wanted: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once it has told its service manager this since its last start."""
        assert self._notify_socket is not None
        deadline = time.monotonic() + timeout_s
        # Short, so that its end is noticed as well.
        self._notify_socket.settimeout(0.05)
        while wanted not in self.notifications:
            try:
                message = self._notify_socket.recv(65536)
            except TimeoutError:
                self._check_starting(deadline)
            else:
                self.notifications.extend(message.decode().splitlines())

    def close(self) -> None:
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self._process is not None:
            self._end_in_order()
        if self._notify_socket is not None:
            self._notify_socket.close()
            self._notify_socket = None
        super().close()

    def _end_in_order(self) -> None:
        """Let it write what it has measured; the second signal has it exit at once."""
        self.signal(signal.SIGCONT)
        # To write takes its time where others compute beside it.
        for timeout_s in (0.3, 10.0):
            self.terminate()
            with contextlib.suppress(AssertionError):
                self.wait(timeout_s)
                return


def _config(options: Mapping[str, object]) -> str:
    """The text of a configuration file; lists are joined with commas."""
    sections: dict[str, list[str]] = {}
    for name, value in options.items():
        section, option = name.split(".")
        if isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        # oslo.config takes a dollar sign for the name of another option.
        text = str(value).replace("$", "$$")
        sections.setdefault(section, []).append(f"{option} = {text}\n")
    return "".join(f"[{section}]\n{''.join(lines)}\n" for section, lines in sections.items())
