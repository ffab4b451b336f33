# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client library where there is nothing that only Linux or Unix has."""

from __future__ import annotations

import subprocess
import sys

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.servers import Gearmand

# Python's own modules use some of these, so they are imported before.
PROGRAM = """
import asyncio, logging.handlers, multiprocessing, os, select, signal, socket, ssl, subprocess
import sys, tempfile, threading, time, uuid, concurrent.futures.thread, getpass, random, selectors
import importlib.resources, urllib.request

for module in ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "pty", "tty"):
    sys.modules[module] = None
for module, names in {
    time: ("clock_gettime", "clock_settime", "pthread_getcpuclockid"),
    os: ("register_at_fork", "fork", "getuid", "geteuid", "getgid", "setuid", "killpg", "uname"),
    select: ("epoll", "poll", "kqueue"),
    signal: ("SIGHUP", "SIGTSTP", "SIGUSR1", "SIGCHLD", "pthread_sigmask", "set_wakeup_fd"),
    socket: ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "SO_REUSEPORT"),
}.items():
    for name in [*names, *(n for n in dir(module) if n.startswith(("CLOCK_", "EPOLL", "POLL")))]:
        if hasattr(module, name):
            delattr(module, name)


def missing(self, *args):
    raise NotImplementedError


# As on Windows. Python's others look for some of the names when they are used.
selectors.DefaultSelector = selectors.SelectSelector
loop_class = asyncio.SelectorEventLoop
loop_class.add_signal_handler = loop_class.remove_signal_handler = missing

import gearhorn

server = sys.argv[1]
subscriber = gearhorn.Subscriber(server, "desk", ttl=60)
subscriber.on("news")


def publish():
    with gearhorn.Publisher(server, timeout=20) as publisher:
        while not publisher.publish("news", "hello", background=True).queued:
            time.sleep(0.05)


thread = threading.Thread(target=publish)
thread.start()
for message in subscriber:
    message.ack()
    print(message.payload)
    break
thread.join()


async def main():
    async with gearhorn.AsyncPublisher(server, timeout=20) as publisher:
        report = await publisher.publish("nobody", "hello")
        print(report.subscribers)


asyncio.run(main())
"""


def test_a_python_without_clock_gettime_imports_it() -> None:
    program = "import time; del time.clock_gettime; import gearhorn; gearhorn.Publisher('h:1')"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_it_works_without_what_only_unix_has(gearmand: Gearmand, daemon: NewDaemon) -> None:
    daemon()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(gearmand.address)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["b'hello'", "0"]
