# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon without ``[http] listen``: nothing listens, and what only HTTP needs stays out."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest

from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.http import ask
from gearhorn.tests.functional.test_reload import reload
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

# Of these, Python says on stderr when it imports each.
LOUD = {"PYTHONPROFILEIMPORTTIME": "1"}
ONLY_FOR_HTTP = {"h11", "prometheus_client", "gearhorn.service.http", "gearhorn.service.watching"}

_LISTENS = "0A"
_ACCEPTS = 0x10000
"""The flag of a Unix socket that listens, __SO_ACCEPTCON."""


def listening(process: Daemon) -> set[str]:
    """The sockets on which a process listens, of whatever family."""
    own: set[str] = set()
    for name in os.listdir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            # It may be closed by then.
            link = os.readlink(f"/proc/{process.pid}/fd/{name}")
            own.update(re.findall(r"^socket:\[(\d+)\]$", link))
    net = Path(f"/proc/{process.pid}/net")
    lines = {
        family: [line.split() for line in (net / family).read_text().splitlines()[1:]]
        for family in ("tcp", "tcp6", "unix")
        if (net / family).exists()
    }
    assert "tcp" in lines
    sockets = {
        f"{family} {line[1]}"
        for family in ("tcp", "tcp6")
        for line in lines.get(family, ())
        if line[3] == _LISTENS and line[9] in own
    }
    unix = lines["unix"]
    return sockets | {line[6] for line in unix if int(line[3], 16) & _ACCEPTS and line[6] in own}


def imported(process: Daemon) -> set[str]:
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", process.log, re.MULTILINE))


def test_nothing_listens_and_nothing_is_imported_for_it(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    one = daemon(environment=LOUD)
    client = peer()
    # Everything that a daemon does without HTTP is done once.
    client.submit("register_fanout_subscriber", subscription("t", "bob"))
    client.submit("fanout", {"topic": "t", "payload": "", "background": True})
    client.submit("fanout_query", {"query": "status"})
    reload(one, **{"fanout.timeout": 5})
    assert listening(one) == set()
    assert "gearhorn.service.running" in imported(one)
    assert imported(one).isdisjoint(ONLY_FOR_HTTP)

    # It is seen where it is there.
    listen = f"127.0.0.1:{free_port()}"
    reload(one, **{"http.listen": listen})
    assert ask(one, "/livez").status == 200
    ask(one, "/metrics")
    assert len(listening(one)) == 1
    assert imported(one) >= ONLY_FOR_HTTP
    reload(one, **{"http.listen": None})
    assert listening(one) == set()
