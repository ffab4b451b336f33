# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What Python's logging says of a file of ``log_config_append``, before it is used.

``python -m gearhorn.service.log_files FILE`` is a child process that configures its own logging
with the file. There all that the file names is made as it would be here, but log files: who looks
at a configuration may be another user than the daemon.
"""

import logging.config
import os
import subprocess
import sys
from typing import IO

_LIMIT_S = 60.0


def fault(path: str) -> str | None:
    """Return why logging cannot be configured with a file, ``None`` if it can."""
    try:
        with open(path):
            pass
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    done = subprocess.run(
        [sys.executable, "-m", __name__, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"{path}: {said[-1]}"


def unwritable(path: str, *, may_be_directory: bool = False) -> str | None:
    """Return why something could not be made or written, ``None`` if it could."""
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        return f"there is no directory {directory}"
    if not may_be_directory and os.path.isdir(path):
        return f"{path} is a directory"
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        return f"{path} cannot be written"
    return None


def _look(handler: logging.FileHandler) -> IO[str]:
    if fault := unwritable(handler.baseFilename):
        raise OSError(fault)
    return open(os.devnull, "a")


def main() -> None:
    """Configure logging, or end with what is raised."""
    logging.FileHandler._open = _look  # type: ignore[assignment,method-assign]
    logging.config.fileConfig(sys.argv[1])


if __name__ == "__main__":
    main()
