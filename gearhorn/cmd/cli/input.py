# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Standard input and files, which may be closed or unreadable."""

import sys
from collections.abc import Iterator
from typing import IO, Any, TextIO

import click

from gearhorn.cmd.cli.exits import Failure


class InputFile(click.File):
    """The parameter type of a file to read; ``-`` is standard input."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IO[bytes]:
        if value == "-":
            return standard_input()
        file: IO[bytes] = super().convert(value, param, ctx)
        return file


def standard_input() -> IO[bytes]:
    """Return standard input.

    :raises Failure: whoever started the command has closed it.
    """
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise Failure("standard input is closed")
    return stdin.buffer


def lines_of(source: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of ``source``.

    :raises Failure: it cannot be read.
    """
    try:
        yield from source
    except OSError as error:
        raise Failure(f"the input cannot be read: {error.strerror}") from None
