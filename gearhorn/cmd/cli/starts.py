# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The option ``--start``: where in a topic's journal a subscriber begins."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from gearhorn import messages
from gearhorn.client.parameters import StartAt

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_place = re.compile(r"([0-9]{1,16})@([!-~]+)").fullmatch


class _Start(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """One of the words, or ``SEQUENCE@JOURNAL``."""

    name = "start"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> StartAt:
        if value in messages.STARTS:
            word: StartAt = value
            return word
        found = _place(str(value))
        if found is None:
            self.fail(f"write {', '.join(messages.STARTS)} or SEQUENCE@JOURNAL", param, ctx)
        return {"after": int(found[1]), "journal": found[2]}

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in messages.STARTS if word.startswith(incomplete)]


def start_option(command: Decorated) -> Decorated:
    """Add ``--start``."""
    return click.option(
        "--start",
        type=_Start(),
        metavar="WHERE",
        help="Put messages of the topic's journal into the queue first: all (first), the newest "
        "(last), or those after SEQUENCE@JOURNAL. [default: new, none]",
    )(command)
