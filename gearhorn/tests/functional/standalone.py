# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The standalone mode as a child process."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from gearhorn.tests.daemons import FanoutCommand
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import Server
from gearhorn.tests.servers import Gearmand


class Standalone(FanoutCommand, Server):
    """The daemon with a job server of its own, ready when it says what to type."""

    def __init__(
        self, tmp_path: Path, *, gearmand: bool, tool: bool = True, **options: object
    ) -> None:
        super().__init__()
        self.state = tmp_path / "state"
        if gearmand:
            (self.directory / "gearmand").symlink_to(Gearmand.find_program())
        self._gearmand = gearmand
        if tool:
            (self.directory / "gearman").symlink_to(str(shutil.which("gearman")))
        self._config = tmp_path / f"gearhorn-{self.port}.conf"
        lines = [f"{name} = {value}\n" for name, value in options.items()]
        self._config.write_text(f"[standalone]\nport = {self.port}\n{''.join(lines)}")

    def command_line(self) -> Sequence[str]:
        return ["--standalone", "--config", str(self._config)]

    def environment(self) -> Mapping[str, str]:
        # Elsewhere no gearmand is found.
        path = str(self.directory)
        if self._gearmand:
            path += os.pathsep + os.environ["PATH"]
        return {**os.environ, "PATH": path, "XDG_STATE_HOME": str(self.state)}

    def start(self) -> None:
        self._before = len(self.log)
        super().start()

    def is_ready(self) -> bool:
        return "in another terminal" in self.log[self._before :]

    def typed(self) -> list[str]:
        """Return the commands that it says to type next."""
        return re.findall(r"^  (\S.*)$", self.log, re.MULTILINE)

    def peer(self) -> Peer:
        return Peer(self.port, self.host)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def job_server(self) -> int:
        """The process id of its child."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (child,) = children
        return int(child)

    def ended_with(self) -> int:
        """Start it although it cannot become ready, and return the exit code."""
        self._launch()
        return self.wait()
