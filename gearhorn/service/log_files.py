# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What Python's logging says of a file of ``log_config_append``, before it is used.

A child process configures its own logging with it. There all that the file names is made as it
would be here, but log files: who looks at a configuration may be another user than the daemon.
"""

import subprocess
import sys

_TRY = """
import logging.config, os, sys

def look(handler):
    path = handler.baseFilename
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise OSError(f"there is no directory {directory}")
    if os.path.isdir(path):
        raise OSError(f"{path} is a directory")
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise OSError(f"{path} cannot be written")
    return open(os.devnull, "a")

logging.FileHandler._open = look
logging.config.fileConfig(sys.argv[1])
"""
_LIMIT_S = 60.0


def fault(path: str) -> str | None:
    """Return why logging cannot be configured with a file, ``None`` if it can."""
    try:
        with open(path):
            pass
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    done = subprocess.run(
        [sys.executable, "-c", _TRY, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"{path}: {said[-1]}"
