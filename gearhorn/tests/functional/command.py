# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's command, to its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from gearhorn.tests import forkserver


def run(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    done = forkserver.run(
        "gearhorn-fanout",
        [*map(str, arguments)],
        environment={**os.environ, **environment},
        cwd=cwd,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refused(result: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the only line that a command printed which ended with ``code``."""
    assert (result.returncode, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("gearhorn-fanout: ")
    return line
