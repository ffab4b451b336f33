# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Starting the commands by fork, from a process that has imported them.

A Python process needs half a second of processor time to import the daemon, and the tests start
hundreds. What is forked is a process of its own all the same, in a session and a directory of its
own, which runs the entry point of the command.

``python -m gearhorn.tests.forkserver FD``: serves requests that come on the socket FD, until its
other end is closed; then it kills what it started.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import posix
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

COMMANDS = {"gearhorn": "gearhorn.cmd.cli", "gearhorn-fanout": "gearhorn.cmd.serve"}
"""The modules whose ``main()`` the commands run."""

_ALSO_PRELOADED = ("gearhorn.store.redis", "gearhorn.store.sqlite", "gearhorn.client.publisher")

_MAX_REQUEST = 1 << 17
_STATUS_BYTES = 8

Request = dict[str, Any]


class Forked:
    """A process that was forked, with what the tests use of ``subprocess.Popen``."""

    def __init__(self, arguments: Sequence[str], link: socket.socket) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._link = link
        self.pid = self._receive()

    def _receive(self) -> int:
        data = self._link.recv(_STATUS_BYTES)
        assert data, "the fork server has ended"
        return int(data)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self._link.setblocking(False)
            try:
                self._end(self._receive())
            except BlockingIOError:
                pass
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._link.settimeout(timeout)
            try:
                self._end(self._receive())
            except TimeoutError:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout) from None
        assert self.returncode is not None
        return self.returncode

    def _end(self, code: int) -> None:
        self.returncode = code
        self._link.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # It may end in this moment.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The process that forks, as its clients see it."""

    def __init__(self) -> None:
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(other.fileno())],
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for pytest, whose fixtures then end what they started.
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        stdin: IO[bytes],
        stdout: IO[bytes],
        stderr: IO[bytes],
        constants: Mapping[str, float] | None = None,
    ) -> Forked:
        """Start a command with these files.

        :param constants: other values for constants of modules, by their full names.
        """
        request = {
            "command": command,
            "arguments": list(arguments),
            "cwd": str(cwd),
            "environment": dict(environment),
            "constants": dict(constants or {}),
        }
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [file.fileno() for file in (stdin, stdout, stderr)]
        with its:
            data = json.dumps(request).encode()
            socket.send_fds(self._control, [data], [its.fileno(), *files])
        return Forked([command, *arguments], mine)

    def close(self) -> None:
        """End it, and what it started."""
        self._control.close()
        self._process.wait()


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process, started at its first use."""
    return ForkServer()


def run(
    command: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, and keep its output."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        given.write(stdin or b"")
        given.seek(0)
        process = fork_server().start(
            command,
            arguments,
            cwd=cwd or Path.cwd(),
            environment=environment,
            stdin=given,
            stdout=output,
            stderr=errors,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            raise
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(process.args, code, output.read(), errors.read())


# In the process that forks.


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, socket.socket]] = {}
        """The process and its client, by the descriptor that tells of its end."""

    def serve(self) -> tuple[Request, list[int]] | None:
        """Fork for each request; in the child, return it and its files."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._control.fileno():
                    self._reap(key.fd)
                    continue
                data, files, _, _ = socket.recv_fds(self._control, _MAX_REQUEST, 4)
                if not data:
                    self._end()
                    return None
                link = socket.socket(fileno=files[0])
                pid = os.fork()
                if not pid:
                    self._selector.close()
                    self._control.close()
                    link.close()
                    for _, other in self._running.values():
                        other.close()
                    return json.loads(data), files[1:]
                for fd in files[1:]:
                    os.close(fd)
                self._watch(pid, link)

    def _watch(self, pid: int, link: socket.socket) -> None:
        fd = os.pidfd_open(pid)
        self._running[fd] = pid, link
        self._selector.register(fd, selectors.EVENT_READ)
        link.send(b"%d" % pid)

    def _reap(self, fd: int) -> None:
        pid, link = self._running.pop(fd)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(fd)
        os.close(fd)
        with link:
            try:
                link.send(b"%d" % os.waitstatus_to_exitcode(status))
            except BrokenPipeError:
                # Nobody asks any more.
                pass

    def _end(self) -> None:
        for pid, _ in self._running.values():
            os.kill(pid, signal.SIGKILL)


def _become(request: Request, files: Sequence[int]) -> None:
    """Run what was asked for."""
    os.setsid()
    # nohup(1) and some shells have it ignored, and the daemon leaves it so.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number, fd in enumerate(files):
        os.dup2(fd, number)
    for fd in files:
        os.close(fd)
    os.chdir(request["cwd"])
    path = request["environment"].get("PYTHONPATH", "")
    is_new = path != os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    if is_new:
        _customize(path.split(os.pathsep))
    for name, value in request["constants"].items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    command = request["command"]
    sys.argv = [command, *request["arguments"]]
    _exit(_status_of(importlib.import_module(COMMANDS[command]).main))


def _status_of(main: Callable[[], Any]) -> int:
    """The exit status that Python makes of what ``main`` returns to ``sys.exit``, or raises."""
    try:
        sys.exit(main())
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
    except Exception:
        sys.excepthook(*sys.exc_info())
    return 1


def _exit(status: int) -> NoReturn:
    """End as Python does, but for taking every module apart.

    That takes longer than most of what the tests start: all that was imported before the fork
    would be copied to be thrown away. What is not closed is still warned of.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except OSError:
            # As Python says it.
            status = 120
    # Not that of os, by which coverage would write once more what it had before the fork.
    posix._exit(status)


def _customize(directories: Sequence[str]) -> None:
    """Do what Python does with PYTHONPATH when it starts, and with sitecustomize there."""
    sys.path[:0] = directories
    for directory in directories:
        customization = Path(directory, "sitecustomize.py")
        if customization.exists():
            code = compile(customization.read_text(), customization, "exec")
            exec(code, {"__name__": "sitecustomize"})
            return


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in (*COMMANDS.values(), *_ALSO_PRELOADED):
        importlib.import_module(module)
    gc.freeze()
    asked = _Server(control).serve()
    if asked is not None:
        _become(*asked)


if __name__ == "__main__":
    main()
