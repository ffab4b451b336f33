# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job server and a store of the daemon's own, for ``--standalone``."""

import asyncio
import contextlib
import dataclasses
import errno
import fcntl
import logging
import os
import shlex
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import async_timeout

from gearhorn import errors
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.messages import FunctionNames
from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_LEFTOVER_TIMEOUT_S = 2.0
"""Seconds in which the job server of a daemon that was killed has to end."""
_RESTART_PAUSE_S = 1.0


class JobServerFailed(errors.GearhornError):
    """The job server of the standalone mode could not be started."""

    code = "job_server_failed"


class Program(NamedTuple):
    """A job server that can be started, and what users should know about it."""

    name: str
    command: Sequence[str]
    caveat: str


def find_program(port: int, directory: Path) -> Program:
    """Return gearmand if the machine has it, else the server of the gear library."""
    gearmand = shutil.which("gearmand", path=os.pathsep.join(_program_directories()))
    if gearmand is not None:
        return Program(
            "gearmand",
            (
                gearmand,
                f"--listen={HOST}",
                f"--port={port}",
                f"--pid-file={directory / 'gearmand.pid'}",
                "--log-file=stderr",
                # Without this, before 2.0.0, one busy queue starves the others of its worker.
                "--round-robin",
            ),
            "Its queues are kept in memory: what is queued is lost when it ends.",
        )
    return Program(
        "the gear.Server of Python's gear library",
        (sys.executable, "-m", "gearhorn.wire.server", HOST, str(port)),
        "It is for trying things out: a unique does not coalesce, the job of a worker that is\n"
        "lost fails instead of being queued again, and nothing survives its restart. For all\n"
        "of that install gearmand (Debian, Ubuntu: sudo apt-get install gearman-job-server).",
    )


def _program_directories() -> Iterator[str]:
    # Debian has gearmand in sbin, which only root's PATH names.
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield directory
        if os.path.basename(directory) == "bin":
            yield os.path.join(os.path.dirname(directory), "sbin")


def state_directory(configured: str | None) -> Path:
    """Return the directory of the store.

    Where the user has no home directory, as in some containers, this is a directory
    of the user's own among the temporary ones.

    :raises ConfigurationError: the configured path begins with the home of a user
        who has none, or there is no home and no usable temporary directory.
    """
    try:
        if configured:
            return Path(configured).expanduser().absolute()
        home = os.environ.get("XDG_STATE_HOME", "")
        # The XDG standard says to ignore relative paths.
        base = Path(home) if os.path.isabs(home) else _home() / ".local" / "state"
    except RuntimeError:
        if configured:
            raise errors.ConfigurationError(
                f"[standalone] directory: {configured} names a home directory that does not exist"
            ) from None
        return _temporary_directory()
    return base / "gearhorn"


def _home() -> Path:
    """Return the home directory of the user.

    :raises RuntimeError: there is none; an empty or relative HOME names none.
    """
    if not os.path.isabs(os.environ.get("HOME", "/")):
        raise RuntimeError("HOME is no absolute path")
    return Path.home()


def _temporary_directory() -> Path:
    """Return a directory that no other user can read, or has made and can redirect."""
    try:
        place = tempfile.gettempdir()
    except FileNotFoundError:
        raise errors.ConfigurationError(
            "[standalone] directory: there is no home directory and no temporary one that can be "
            "written: name another"
        ) from None
    directory = Path(place) / f"gearhorn-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        reason = error.strerror
    else:
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
            return directory
        reason = "it is somebody else's"
    raise errors.ConfigurationError(
        f"[standalone] directory: there is no home directory, and {directory} cannot be used "
        f"instead: {reason}"
    )


def standalone_settings(settings: DaemonSettings, port: int, directory: Path) -> DaemonSettings:
    """Return ``settings`` with the job server and the store of the standalone mode."""
    return dataclasses.replace(
        settings,
        servers=(Address(HOST, port),),
        store_url=f"sqlite://{quote(str(directory / 'store.db'))}",
        wire=dataclasses.replace(settings.wire, tls=None),
        # The directory is locked, so a daemon that has an entry was killed.
        alone=True,
        # Its job server and its store begin and end together.
        create="always",
        state_dir=None,
    )


@contextlib.contextmanager
def held_directory(directory: Path) -> Iterator[None]:
    """Make the directory, and keep it from a second standalone daemon.

    Two daemons would share the store but no job server, and their notices would never
    arrive.

    :raises ConfigurationError: the directory cannot be made.
    :raises JobServerFailed: another daemon holds it.
    """
    try:
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise errors.ConfigurationError(
            f"[standalone] directory: {directory} cannot be used: {error.strerror}"
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobServerFailed(
                f"{directory} is in use by another standalone daemon; "
                "give this one another [standalone] directory and port"
            ) from None
        yield
    finally:
        os.close(fd)


@contextlib.asynccontextmanager
async def job_server(port: int, directory: Path) -> AsyncIterator[Program]:
    """Run a job server that accepts connections, and start it again whenever it ends.

    :raises JobServerFailed: the port is busy, or the job server did not start.
    """
    program = find_program(port, directory)
    await _wait_free(port)
    process = await _start(program, port, directory)
    keeper = asyncio.create_task(_keep(process, program, port, directory))
    try:
        yield program
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _keep(
    process: asyncio.subprocess.Process | None, program: Program, port: int, directory: Path
) -> None:
    try:
        while True:
            if process is not None:
                code = await process.wait()
                LOG.error(
                    "the job server ended %s, and what was queued in it is lost: "
                    "starting it again. Its log is %s",
                    _ending(code),
                    directory / "job-server.log",
                )
            await asyncio.sleep(_RESTART_PAUSE_S)
            process = None
            fault = ""
            try:
                process = await _start(program, port, directory)
            except JobServerFailed as error:
                fault = str(error)
            if fault:
                LOG.error("%s; trying again", fault)
    finally:
        if process is not None:
            await _end(process)


def _ending(code: int) -> str:
    """Describe the end of a child process, by its return code."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


async def _wait_free(port: int) -> None:
    deadline = asyncio.get_running_loop().time() + _LEFTOVER_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return
            except OSError as error:
                busy = error.errno == errno.EADDRINUSE
                if not busy or asyncio.get_running_loop().time() > deadline:
                    hint = (
                        "; put another port in a file, below [standalone], and add --config FILE"
                        if busy
                        else ""
                    )
                    raise JobServerFailed(
                        f"a job server cannot listen on {HOST}:{port}: {error.strerror}{hint}"
                    ) from None
        await asyncio.sleep(0.05)


async def _start(program: Program, port: int, directory: Path) -> asyncio.subprocess.Process:
    log_path = directory / "job-server.log"
    try:
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gearhorn.service.child", str(os.getpid())),
                *program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Otherwise Ctrl-C at the terminal would end it before the daemon has drained.
                start_new_session=True,
            )
    except OSError as error:
        raise JobServerFailed(f"{program.name} cannot be started: {error}") from None
    try:
        async with async_timeout.timeout(_START_TIMEOUT_S):
            await _accepts(process, port)
    except (asyncio.TimeoutError, JobServerFailed):
        await _end(process)
        raise JobServerFailed(f"{program.name} did not start: see {log_path}") from None
    except asyncio.CancelledError:
        await _end(process)
        raise
    return process


async def _accepts(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        if process.returncode is not None:
            raise JobServerFailed
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


async def _end(process: asyncio.subprocess.Process) -> None:
    for end in (process.terminate, process.kill):
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(asyncio.TimeoutError):
            async with async_timeout.timeout(_STOP_TIMEOUT_S):
                await process.wait()
            return


def greeting(program: Program, settings: DaemonSettings, directory: Path) -> str:
    """Return the text to show once the daemon serves: its address, and what to type."""
    server = settings.servers[0]
    has_tool = shutil.which("gearman") is not None
    example = _example if has_tool else _own_example
    lines = [
        f"gearhorn serves on {server}, through {program.name}; Ctrl-C ends both.",
        program.caveat,
        f"Subscriptions are kept in {directory}.",
        "",
        "Type in another terminal:",
        "",
        *(f"  {line}" for line in example(server, settings.functions)),
        "",
    ]
    if not has_tool:
        lines.append(
            "Gearman's own tool does too (Debian, Ubuntu: sudo apt-get install gearman-tools).\n"
        )
    return "\n".join(lines)


_TOPIC = "officememos"
_NAMES = ("bob", "alice")
_MEMO = "please go home early today."


def _example(server: Address, functions: FunctionNames) -> Iterator[str]:
    tool = f"gearman -h {server.host} -p {server.port}"
    for name in _NAMES:
        request = f'{{"topic": "{_TOPIC}", "client_id": "{name}"}}'
        yield f"{tool} -f {shlex.quote(functions.register)} '{request}'"
    for name in _NAMES:
        yield f"{tool} -w -f {_TOPIC}_{name} &"
    message = f'{{"topic": "{_TOPIC}", "payload": "{_MEMO}"}}'
    yield f"{tool} -f {shlex.quote(functions.fanout)} '{message}'"


def _own_example(server: Address, functions: FunctionNames) -> Iterator[str]:
    """Yield the same example with gearhorn's own command."""
    script = Path(sys.executable).with_name("gearhorn")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "gearhorn.cmd.cli"]
    command += ["--server", str(server)]
    default = FunctionNames()
    for option in ("register", "fanout"):
        name = getattr(functions, option)
        if name != getattr(default, option):
            command += ["--function", f"{option}={name}"]
    tool = shlex.join(command)
    for name in _NAMES:
        yield f"{tool} register {_TOPIC} {name}"
    for name in _NAMES:
        yield f"{tool} listen {_TOPIC} --as {name} &"
    yield f"{tool} publish {_TOPIC} '{_MEMO}'"
