# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Programs of a user, each run to its end in a Python of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

BEGINNING = """\
import asyncio, multiprocessing, os, signal, sys, threading, time
import gearhorn
from gearhorn import AsyncPublisher, AsyncSubscriber, Publisher, Subscriber, errors
server, topic = sys.argv[1:3]
# Python 3.12 starts no thread once the main thread has ended.
starts_no_threads_late = sys.version_info[:2] == (3, 12)


def say(*words):
    # In one write, as several processes may say something at a time.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def forked(work):
    # Do work in a child, to its end; say what it raises.
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        work()
    except BaseException as error:
        say(type(error).__name__)
    finally:
        os._exit(0)


def until(true):
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


"""
"""What each program begins with: ``server`` and ``topic`` are its first arguments."""


STARTS_NO_THREADS_LATE = sys.version_info[:2] == (3, 12)


def start_program(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a program. On SIGABRT it shows on stderr where each thread is."""
    return subprocess.Popen(
        [
            *(sys.executable, "-X", "faulthandler", "-c"),
            BEGINNING + textwrap.dedent(code),
            *map(str, arguments),
        ],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Its children end with it.
        start_new_session=True,
    )


def end_of(program: subprocess.Popen[str], timeout_s: float = 20.0) -> list[str]:
    """Wait until it and its children have ended, and return the lines that it printed."""
    try:
        said, complaints = program.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _signal(program, signal.SIGABRT)
        said, complaints = program.communicate(timeout=10)
        raise AssertionError(f"it hangs:\n{said}\n{complaints}") from None
    finally:
        _signal(program, signal.SIGKILL)
    assert program.returncode == 0, f"it ended with {program.returncode}:\n{said}\n{complaints}"
    return said.splitlines()


def _signal(program: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, number)


def run_program(
    code: str,
    *arguments: object,
    timeout_s: float = 20.0,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a program to its end, and return the lines that it printed."""
    return end_of(start_program(code, *arguments, environment=environment), timeout_s)


@contextlib.contextmanager
def running_program(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until the end of the block, if it has not ended by then."""
    program = start_program(code, *arguments)
    try:
        yield program
    finally:
        _signal(program, signal.SIGKILL)
        program.communicate(timeout=10)


def tell(program: subprocess.Popen[str]) -> None:
    """Give a running program a line to read, for which it waits."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def line_of(program: subprocess.Popen[str]) -> str:
    """Wait for the next line that a running program prints."""
    assert program.stdout is not None
    return program.stdout.readline().rstrip("\n")


def patched(directory: Path, code: str) -> dict[str, str]:
    """Return an environment in which every Python runs ``code`` first."""
    (directory / "sitecustomize.py").write_text(textwrap.dedent(code))
    return {"PYTHONPATH": str(directory)}
