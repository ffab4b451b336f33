# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The stock ``gearman`` tool, as publisher and as worker."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import MissingProgramError, Process


def tool() -> str:
    program = shutil.which("gearman")
    if program is None:
        raise MissingProgramError("gearman is missing: install the Debian package gearman-tools")
    return program


def gearman(
    topic: Topic, function: str, data: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Submit a job as a user does at a shell; that it ends is part of each test."""
    return subprocess.run(
        [tool(), "-h", topic.server.host, "-p", str(topic.server.port), "-f", function, *options],
        input=data,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


class ToolWorker(Process):
    """``gearman -w`` that writes what it receives into its log."""

    program = "gearman"
    package = "gearman-tools"

    def __init__(self, topic: Topic, client_id: str, *command: str) -> None:
        super().__init__()
        self._topic = topic
        self._queue = topic.queue(client_id)
        self._command = command

    def command(self) -> Sequence[str]:
        server = self._topic.server
        address = ["-h", server.host, "-p", str(server.port)]
        return [tool(), "-w", *address, "-f", self._queue, *self._command]

    def is_ready(self) -> bool:
        return self._topic.server.admin.queue(self._queue).workers == 1
