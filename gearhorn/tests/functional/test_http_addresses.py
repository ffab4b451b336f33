# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each kind of address on which a daemon serves HTTP, and ``--probe`` there."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.command import run
from gearhorn.tests.functional.http import ask
from gearhorn.tests.functional.test_reload import reload
from gearhorn.tests.processes import free_port

pytestmark = pytest.mark.once


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_daemon_is_asked_wherever_it_listens(daemon: NewDaemon) -> None:
    one = daemon()
    path = Path(f"/tmp/gearhorn-{uuid.uuid4().hex[:8]}")
    addresses = [f"127.0.0.1:{free_port()}", f"localhost:{free_port()}", f"unix:{path}"]
    if _has_ipv6():
        addresses.append(f"[::1]:{free_port()}")
    addresses.append(f"0.0.0.0:{free_port()}")
    for listen in addresses:
        assert reload(one, **{"http.listen": listen}).startswith(f"[http] listen = {listen} (was ")
        assert ask(one, "/livez").text == "ok\n"
        done = run("--config", str(one.config_file), "--probe", "ready")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ok")
    # The socket of an address that it has left is gone.
    assert not path.exists()
