# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Running the command line as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from gearhorn.tests import forkserver

COMMAND = (sys.executable, "-m", "gearhorn.cmd.cli")

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


def gearhorn(
    servers: Sequence[str], *arguments: str, stdin: str | bytes | None = None, **environment: str
) -> Result:
    """``gearhorn`` with these job servers; its output is text."""
    done = forkserver.run(
        "gearhorn",
        arguments,
        environment={**os.environ, "GEARHORN_SERVERS": " ".join(servers), **environment},
        stdin=stdin.encode() if isinstance(stdin, str) else stdin,
    )
    return Result(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
