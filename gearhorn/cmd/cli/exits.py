# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The exit codes of the command."""

import json

import click

from gearhorn import errors

OK = 0
FAILED = 1
"""The work was done in part or not at all: some copies were not delivered, doctor
found something, or the answer to a question was no."""
USAGE = 2
"""The command line is wrong; click's own code."""
REFUSED = 3
"""The daemon refused the request, or would have: the message has the code."""
NO_ANSWER = 4
"""No job server can be reached, no daemon serves it, or none answered in time."""
STORE = 5
"""The daemon answered that its store failed."""


class Failure(click.ClickException):
    """An error that ends the command with :data:`FAILED`.

    :param code: the code of the error, from :mod:`gearhorn.errors` if it is one of
        those.
    """

    exit_code = FAILED

    def __init__(self, message: str, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code
        context = click.get_current_context(silent=True)
        self._as_json = context is not None and getattr(context.find_root().obj, "as_json", False)

    def show(self, file: object = None) -> None:
        """Print the error on standard error, in the format asked for."""
        if self._as_json:
            click.echo(json.dumps({"error": self.code, "message": self.message}), err=True)
        else:
            click.echo(f"Error: {self.message}", err=True)


class _Usage(Failure):
    exit_code = USAGE


class _Refused(Failure):
    exit_code = REFUSED


class _NoAnswer(Failure):
    exit_code = NO_ANSWER


class _StoreFault(Failure):
    exit_code = STORE


_FAILURES: dict[type[errors.GearhornError], type[Failure]] = {
    errors.ConfigurationError: _Usage,
    errors.InvalidServer: _Usage,
    errors.RequestError: _Refused,
    errors.WireError: _NoAnswer,
    errors.StoreError: _StoreFault,
    errors.NoServer: _NoAnswer,
    errors.NoAnswer: _NoAnswer,
    errors.NotQueued: _NoAnswer,
    errors.GearhornError: Failure,
}


def failure_of(error: errors.GearhornError) -> Failure:
    """Return the failure with which the command ends after ``error``."""
    kind = next(kind for raised, kind in _FAILURES.items() if isinstance(error, raised))
    text = str(error)
    if isinstance(error, errors.StoreError):
        text = f"the daemon cannot use its store: {text}"
    if isinstance(error, (errors.NoAnswer, errors.StoreError)):
        text += ": see gearhorn doctor"
    return kind(text, error.code)
