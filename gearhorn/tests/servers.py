# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Real servers on free loopback ports, for tests.

Each is a child process that can be stopped, killed, frozen and started again on its port.
Starting one returns when it answers in its own protocol. Its output is kept in ``log``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, TypeVar

import trustme

from gearhorn.tests.peer import Admin

_START_TIMEOUT_S = 20.0

Result = TypeVar("Result")
SomeProcess = TypeVar("SomeProcess", bound="Process")


# Below those that the system gives to outgoing connections, which could else take the port of a
# server that has not started yet.
_ports = itertools.cycle(random.sample(range(20_000, 32_768), 12_768))


def free_port() -> int:
    """A loopback port that nobody listens on, and none that was given before."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(
    condition: Callable[[], Result], timeout_s: float = 10.0, *, interval_s: float = 0.01
) -> Result:
    """Ask until the answer is true and return it; for what sends no event one could wait for."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; the last answer was {result!r}")
        time.sleep(interval_s)
    return result


class MissingProgramError(Exception):
    """A server that the tests need is not installed."""


class Process:
    """A child process in a session and a directory of its own."""

    program: ClassVar[str]
    package: ClassVar[str]

    def __init__(self) -> None:
        # Not in pytest's directory for the test, whose name can be too long for Unix sockets.
        self.directory = Path(tempfile.mkdtemp(prefix="gearhorn-"))
        self._log_path = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self: SomeProcess) -> SomeProcess:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """One exchange in the server's protocol; OSError means not yet."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    @classmethod
    def find_program(cls) -> str:
        # Debian keeps gearmand where only root's PATH looks.
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        program = shutil.which(cls.program, path=path)
        if program is None:
            raise MissingProgramError(
                f"{cls.program} is missing: install the Debian package {cls.package}"
            )
        return program

    @property
    def log(self) -> str:
        """All that the process has written, of earlier starts as well."""
        if not self._log_path.exists():
            return ""
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._running().poll()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.program} was not started"
        return self._process

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self._launch()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._try_ready():
            self._check_starting(deadline)
            time.sleep(0.01)

    def _launch(self) -> None:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _try_ready(self) -> bool:
        try:
            return self.is_ready()
        except OSError:
            return False

    def _check_starting(self, deadline: float) -> None:
        code = self._running().poll()
        if code is not None:
            raise AssertionError(f"{self.program} ended with {code}:\n{self.log}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{self.program} did not become ready:\n{self.log}")

    def signal(self, number: int) -> None:
        self._running().send_signal(number)

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        self.signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.program} did not end within {timeout_s} s") from None

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ask it to end, wait, and return the exit code."""
        self.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Freeze it; return when it stands still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again where it was, ending it first if it still runs."""
        if self.exit_code is None:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and the children it may have, and remove its directory."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)


class Server(Process):
    """A process that listens on a loopback port, the same one after each start."""

    host = "127.0.0.1"

    def __init__(self, port: int | None = None) -> None:
        super().__init__()
        self.port = free_port() if port is None else port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class Gearmand(Server):
    """gearmand, with further command line arguments."""

    program = "gearmand"
    package = "gearman-job-server"

    def __init__(self, *arguments: str, port: int | None = None) -> None:
        super().__init__(port)
        self.arguments = arguments
        self.admin = Admin(self.port, self.host)

    def command(self) -> Sequence[str]:
        return [
            self.find_program(),
            f"--listen={self.host}",
            f"--port={self.port}",
            "--log-file=stderr",
            "--verbose=NOTICE",
            f"--pid-file={self.directory / 'pid'}",
            *self.arguments,
        ]

    def is_ready(self) -> bool:
        return Admin(self.port, self.host, timeout_s=1.0).version().startswith("OK ")


class Redis(Server):
    """redis-server that keeps nothing on disk, with configuration directives by name.

    A name's underscores stand for dashes: ``Redis(maxmemory="1mb", appendonly="yes")``.
    """

    program = "redis-server"
    package = "redis-server"

    def __init__(self, *, port: int | None = None, **directives: str) -> None:
        super().__init__(port)
        self.directives = {name.replace("_", "-"): value for name, value in directives.items()}

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self) -> Sequence[str]:
        directives = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            **self.directives,
        }
        arguments = (
            word for name, value in directives.items() for word in (f"--{name}", *_words(value))
        )
        return [self.find_program(), *arguments]

    def is_ready(self) -> bool:
        # With a password it answers NOAUTH; while it loads its data, LOADING.
        return self.ask("PING").startswith(("+PONG", "-NOAUTH"))

    def ask(self, *words: str) -> str:
        """Send one command and return the raw answer, for what a short one says."""
        with socket.create_connection((self.host, self.port), timeout=2.0) as connection:
            connection.sendall(_resp(words))
            return connection.recv(65536).decode(errors="replace")


def _words(value: str) -> list[str]:
    return value.split() or [""]


def _resp(words: Sequence[str]) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in map(str.encode, words):
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Sentinel(Redis):
    """redis-sentinel that watches one master and fails over on its own word."""

    program = "redis-sentinel"
    package = "redis-sentinel"
    # It connects again once a second: with less, it soon takes a master that it has just promoted
    # for down.
    _down_after_ms = 1_500

    def __init__(self, master: Redis, *, name: str = "gearhorn") -> None:
        super().__init__()
        self.name = name
        # The file, which Sentinel itself rewrites, outlives a restart.
        self._file = self.directory / "sentinel.conf"
        self._file.write_text(
            f"bind {self.host}\n"
            f"port {self.port}\n"
            f"dir {self.directory}\n"
            f"sentinel monitor {name} {master.host} {master.port} 1\n"
            f"sentinel down-after-milliseconds {name} {self._down_after_ms}\n"
            f"sentinel failover-timeout {name} 2000\n"
        )

    def command(self) -> Sequence[str]:
        return [self.find_program(), str(self._file)]

    def is_ready(self) -> bool:
        return self.master_port() != 0

    def master_port(self) -> int:
        """The port of the master as Sentinel knows it; 0 if it knows none."""
        answer = self.ask("SENTINEL", "get-master-addr-by-name", self.name)
        match = re.search(r"\r\n(\d+)\r\n$", answer)
        return int(match[1]) if match else 0

    def replicas(self) -> int:
        """How many replicas of the master Sentinel has found."""
        return self.ask("SENTINEL", "replicas", self.name).count("runid")


class Stunnel(Server):
    """stunnel, which serves TLS and passes the plain bytes on to ``target_port``.

    ``ca``, ``client_certificate`` and ``client_key`` are files that a client needs. The
    certificate of the server is valid for ``names``.
    """

    program = "stunnel4"
    package = "stunnel4"

    def __init__(
        self,
        target_port: int,
        *,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        verify_client: bool = False,
        tls_version: str = "all",
    ) -> None:
        super().__init__()
        authority = trustme.CA()
        server = authority.issue_cert(*names)
        client = authority.issue_cert("client.example")
        self.ca = self.directory / "ca.pem"
        self.client_certificate = self.directory / "client.pem"
        self.client_key = self.directory / "client.key"
        authority.cert_pem.write_to_path(str(self.ca))
        client.cert_chain_pems[0].write_to_path(str(self.client_certificate))
        client.private_key_pem.write_to_path(str(self.client_key))
        server_pem = self.directory / "server.pem"
        server.private_key_and_cert_chain_pem.write_to_path(str(server_pem))
        server_pem.chmod(0o600)

        self._file = self.directory / "stunnel.conf"
        self._file.write_text(
            "foreground = yes\n"
            "pid =\n"
            "socket = l:TCP_NODELAY=1\n"
            "socket = r:TCP_NODELAY=1\n"
            "[gearman]\n"
            f"accept = {self.host}:{self.port}\n"
            f"connect = {self.host}:{target_port}\n"
            f"cert = {server_pem}\n"
            f"sslVersion = {tls_version}\n"
            + (f"verifyChain = yes\nCAfile = {self.ca}\n" if verify_client else "")
        )

    def client_context(self) -> ssl.SSLContext:
        """What a client that trusts this server and shows its certificate uses."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context

    def command(self) -> Sequence[str]:
        return [self.find_program(), str(self._file)]

    def is_ready(self) -> bool:
        context = self.client_context()
        # Also where the certificate is made for another name.
        context.check_hostname = False
        with (
            socket.create_connection((self.host, self.port), timeout=1.0) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.version() is not None


class Daemon(Process):
    """``gearhorn-fanout`` with a configuration file made of options by ``section.option``.

    An option that is None is left out, as ``gearman.worker_id`` has a default here.
    It says itself through NOTIFY_SOCKET when it is ready, as it would to systemd.
    """

    program = "gearhorn-fanout"

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
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
        self._environment = environment or {}
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

    def command(self) -> Sequence[str]:
        return [
            sys.executable,
            "-m",
            "gearhorn.cmd.serve",
            "--config-file",
            str(self.config_file),
            *self.arguments,
        ]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "NOTIFY_SOCKET": str(self._notify_path), **self._environment}

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

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        self.wait_notification("READY=1", timeout_s)

    def wait_notification(self, wanted: str, timeout_s: float = _START_TIMEOUT_S) -> None:
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
        if self._notify_socket is not None:
            self._notify_socket.close()
            self._notify_socket = None
        super().close()


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
