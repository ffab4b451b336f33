# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The servers that gearhorn needs beside it, as child processes on loopback ports."""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence

import trustme

from gearhorn.tests.admin import Admin
from gearhorn.tests.processes import MissingProgramError, Server

GEARMAND_VARIABLE = "GEARHORN_GEARMAND"


class Gearmand(Server):
    """gearmand, with further command line arguments.

    It is the one that the variable ``GEARHORN_GEARMAND`` names, or else that of the system.
    """

    program = "gearmand"
    package = "gearman-job-server"

    def __init__(self, *arguments: str, port: int | None = None) -> None:
        super().__init__(port)
        self.arguments = arguments
        self.admin = Admin(self.port, self.host)

    @classmethod
    def find_program(cls) -> str:
        path = os.environ.get(GEARMAND_VARIABLE)
        if not path:
            return super().find_program()
        program = shutil.which(os.path.abspath(path))
        if program is None:
            raise MissingProgramError(f"{GEARMAND_VARIABLE} names no program: {path}")
        return program

    @classmethod
    def release(cls) -> str:
        """ "1.1", "2.0.0", or "after 2.0.0".

        One that was built outside its git repository has no version, so this is taken from
        what its options are said to do.
        """
        text = " ".join(_output(cls.find_program(), "--help").split())
        if "-1 (no limit)" in text:
            return "after 2.0.0"
        return "2.0.0" if "cannot be deactivated" in text else "1.1"

    @classmethod
    def takes_turns(cls) -> bool:
        """True if it always serves the functions of a connection in turn."""
        return cls.release() != "1.1"

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


@functools.cache
def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


class GearServer(Server):
    """The job server of the library gear, which knows no ECHO and no options.

    :param kind: ``gear.Server``, or ``JobServer`` for what the standalone mode makes of it.
    """

    program = sys.executable
    package = "python3"

    def __init__(self, kind: str = "gear.Server") -> None:
        super().__init__()
        self._kind = kind

    def command(self) -> Sequence[str]:
        code = (
            "import gear, signal; from gearhorn.wire.server import JobServer; "
            f"{self._kind}({self.port}, host={self.host!r}); signal.pause()"
        )
        return [self.program, "-c", code]

    def is_ready(self) -> bool:
        return Admin(self.port, self.host).status() == {}


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

    def replica(self) -> Redis:
        """One that copies this, still to be started."""
        return Redis(replicaof=f"{self.host} {self.port}")

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
        with socket.create_connection((self.host, self.port), timeout=20.0) as connection:
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
        """Return the number of replicas of the master that Sentinel has found."""
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
        """Return the context of a client that trusts this server and shows its certificate."""
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
