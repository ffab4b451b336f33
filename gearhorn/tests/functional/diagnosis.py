# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The findings of ``gearhorn doctor``, and the faults that tests make for it to find."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from gearhorn.tests.builders import Request, message, subscription
from gearhorn.tests.cli import Result, gearhorn
from gearhorn.tests.peer import Peer
from gearhorn.tests.servers import Gearmand


class Diagnosis:
    """The findings of doctor, by check."""

    def __init__(self, done: Result) -> None:
        assert done.returncode in (0, 1, 4), done
        self.exit_code = done.returncode
        self.document: dict[str, Any] = json.loads(done.stdout)
        self.findings: dict[str, list[dict[str, str]]] = {}
        for finding in self.document["findings"]:
            assert finding["text"]
            assert finding["advice"]
            # The store's are told apart by their codes.
            entry = f"finding-{finding['check']}"
            if finding["check"] == "store":
                entry = f"code-{finding['subject']}".replace("_", "-")
            assert finding["link"] == f"howto/runbook.html#{entry}"
            self.findings.setdefault(finding["check"], []).append(finding)

    def only(self, check: str) -> dict[str, str]:
        """The one finding beside what is always noted."""
        assert set(self.findings) - {"server-options"} == {check}
        (finding,) = self.findings[check]
        return finding


def doctor(servers: Sequence[str], *options: str) -> Diagnosis:
    return Diagnosis(gearhorn(servers, *options, "doctor", "--interval", "0.3", "--format", "json"))


def register(client: Peer, topic: str, client_id: str) -> None:
    outcome = client.submit("register_fanout_subscriber", subscription(topic, client_id))
    assert outcome.completed, outcome


def publish(client: Peer, topic: str, count: int = 1) -> None:
    for _ in range(count):
        outcome = client.submit("fanout", message(topic, background=True))
        assert outcome.completed, outcome


@contextlib.contextmanager
def growing(server: Gearmand, function: str, request: Request | str) -> Iterator[None]:
    """Submit the request again and again."""
    ended = threading.Event()

    def submit() -> None:
        with Peer(server.port) as client:
            while not ended.wait(0.02):
                client.start(function, request)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
