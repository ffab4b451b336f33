# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Tables for people, JSON for scripts."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from gearhorn.messages import printable

Row = dict[str, Any]


def show_json(document: Any) -> None:
    """Print one JSON document on one line."""
    click.echo(json.dumps(document, ensure_ascii=False))


def show_table(rows: Sequence[Row], columns: Sequence[str], nothing: str) -> None:
    """Print ``columns`` of the rows, or ``nothing`` on standard error if there are none."""
    if not rows:
        click.echo(nothing, err=True)
        return
    titles = [column.replace("_", " ").upper() for column in columns]
    cells = [[printable(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    right = [isinstance(rows[0][column], (int, float)) for column in columns]
    for line in (titles, *cells):
        aligned = (
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def seconds(value: float) -> str:
    """Return a duration, in seconds, as text in the unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(value) >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s"


def plural(count: int, one: str) -> str:
    """Return ``2 jobs``, or ``1 job``."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return the names, or the first of them and the number of the others."""
    names = list(names)
    shown = ", ".join(map(printable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
