# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The replies of the Lua scripts, as what they stand for."""

from collections.abc import Iterable
from typing import Any

from gearhorn.store.base import Change, DaemonEntry


def pairs(flat: list[Any]) -> Iterable[tuple[str, int]]:
    """Return the elements of a flat list as pairs of a name and a number."""
    return ((flat[i], int(flat[i + 1])) for i in range(0, len(flat), 2))


def changes(flat: list[Any]) -> list[Change]:
    return [Change(*pair) for pair in pairs(flat)]


def entries(reply: list[Any]) -> dict[str, DaemonEntry]:
    """Return the entries of daemons in a reply of ``entries.lua``."""
    now, members, renewals, seen, settings, secrets = reply
    seen_at = dict(pairs(seen))
    settings_of, secret_of = strings(settings), strings(secrets)
    # A daemon whose entry is gone may live and have lists: it is told all the same.
    renewal_of = {**dict.fromkeys(members, 0), **dict(pairs(renewals))}
    renewal_of.pop("", None)
    return {
        worker_id: DaemonEntry(
            renewal,
            max(0, now - seen_at[worker_id]) / 1000 if worker_id in seen_at else None,
            settings_of.get(worker_id),
            secret_of.get(worker_id) or None,
        )
        for worker_id, renewal in renewal_of.items()
    }


def strings(flat: list[str]) -> dict[str, str]:
    """Return the elements of a flat list as pairs of strings."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
