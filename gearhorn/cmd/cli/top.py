# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``top``."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

import click

from gearhorn.cmd import streams
from gearhorn.cmd.cli.exits import NO_ANSWER, OK
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.output import show_json
from gearhorn.cmd.cli.session import Session
from gearhorn.cmd.cli.top_look import Frame, Looker, frame_of
from gearhorn.cmd.cli.top_screen import Screen, frame_lines

_MOST = 20
"""The most topics in a frame that scrolls by."""
# The other screen of the terminal, without a cursor; and back.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds from one look to the next.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many frames.")
@click.option("--once", is_flag=True, help="The same as --count 1.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=_MOST,
    show_default=True,
    help="The most topics, and queues without a worker, in a frame.",
)
@format_option
@pass_session
def top(session: Session, interval: float, count: int | None, once: bool, most: int) -> None:
    """Watch rates, queues and daemons.

    On a terminal it is a screen with keys: s sorts, / filters, the arrows choose a topic, enter
    opens it, esc goes back, q ends. Elsewhere, and with --count, --once or JSON, frames are
    written one after the other. Each frame needs two looks, so the first comes after the
    interval.

    UNREAD is the number of queues of a topic with messages and no worker. The requests are
    those of top itself too.

    Needs the job servers alone. A daemon of an older release is shown without its counters, and
    named, as the rates are without it.
    Ends with 4 if no job server can be reached, or no daemon answers.

    \b
    Examples:
      gearhorn top
      gearhorn top --once --format json | jq '.topics[] | select(.unread > 0)'
    """
    count = 1 if once else count
    on_terminal = streams.is_terminal(sys.stdin) and streams.is_terminal(sys.stdout)
    if on_terminal and count is None and not session.as_json:
        session.run(_on_screen(session, interval))
        code = OK
    else:
        code = session.run(_frames(session, interval, count, most))
    click.get_current_context().exit(code)


async def _frames(session: Session, interval: float, count: int | None, most: int) -> int:
    """Write frames, and return the exit code."""
    looker = Looker(session)
    before = await looker.look()
    written = 0
    while count is None or written < count:
        await asyncio.sleep(interval)
        now = await looker.look()
        frame = frame_of(before, now)
        if session.as_json:
            show_json(frame.document(most))
        else:
            click.echo("\n".join([*([""] if written else []), *frame_lines(frame, most)]))
        before = now
        written += 1
    return OK if before.is_answered else NO_ANSWER


async def _on_screen(session: Session, interval: float) -> None:
    screen, looker = Screen(), Looker(session)
    pressed = asyncio.Event()
    keys: list[str] = []

    def read() -> None:
        data = os.read(sys.stdin.fileno(), 1024).decode("utf-8", "ignore")
        # An escape sequence comes in one piece. The end of input ends it all.
        keys.extend([data] if data.startswith("\x1b") else data or "q")
        pressed.set()

    loop = asyncio.get_running_loop()
    with _terminal():
        loop.add_reader(sys.stdin.fileno(), read)
        try:
            _draw(["Looking ..."])
            before = await looker.look()
            frame: Frame | None = None
            due = loop.time() + interval
            while not screen.ended:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(pressed.wait(), max(0.0, due - loop.time()))
                pressed.clear()
                while keys:
                    screen.press(keys.pop(0), frame)
                if loop.time() >= due and not screen.ended:
                    now = await looker.look()
                    frame, before = frame_of(before, now), now
                    due = loop.time() + interval
                if frame is not None:
                    size = shutil.get_terminal_size()
                    _draw(screen.lines(frame, size.columns, size.lines))
        finally:
            loop.remove_reader(sys.stdin.fileno())


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """Take the terminal over, and give it back as it was."""
    # Imported here: the other commands need nothing that only Unix has.
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    sys.stdout.write(_BEGIN)
    try:
        yield
    finally:
        sys.stdout.write(_END)
        sys.stdout.flush()
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _draw(lines: list[str]) -> None:
    text = "\r\n".join(line + _CLEAR_LINE for line in lines)
    sys.stdout.write(_HOME + text + _CLEAR_REST)
    sys.stdout.flush()


COMMANDS = (top,)
