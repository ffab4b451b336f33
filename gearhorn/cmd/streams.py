# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Standard output and standard error that cannot be written, as on a full disk."""

import errno
import io
import os
import sys
from typing import TextIO


def escape_unencodable() -> None:
    """Write what the terminal's encoding lacks as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO | None) -> bool:
    """Return true if a standard stream is a terminal; one that was closed is ``None``."""
    return stream is not None and stream.isatty()


def write_out(program: str, text: str) -> bool:
    """Write ``text`` on standard output; return true if it was written."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        report_unwritten(program, error)
        return False
    return True


def complain(text: str) -> None:
    """Write a line on standard error, if that is possible."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard_unwritten()


def report_unwritten(program: str, error: OSError) -> None:
    """Say that the output cannot be written, unless nobody reads it any more."""
    if error.errno != errno.EPIPE:
        complain(f"{program}: the output cannot be written: {error.strerror}")
    discard_unwritten()


def discard_unwritten() -> None:
    """Keep Python from writing what is left when it ends, and from failing again."""
    streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        # None if whoever started the process has closed it.
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
