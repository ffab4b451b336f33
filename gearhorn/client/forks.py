# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Objects that start anew in a process that was forked.

A fork copies one thread: the event loop's is not in the child, its locks stay as
they were, and its sockets are shared with the parent. Whoever holds such things
is told in the child, before any other of its code runs.
"""

import logging
import os
import weakref
from typing import Any, Protocol

from gearhorn.wire.pool import Pool

LOG = logging.getLogger(__name__)


class Forked(Protocol):
    """An object that holds something which does not outlive a fork."""

    def _forked(self) -> None:
        """Start anew. This is called in the child."""


_told: "weakref.WeakSet[Any]" = weakref.WeakSet()
_left: list[object] = []


def tell(holder: Forked) -> None:
    """Call ``holder._forked()`` in each child that is forked from now on."""
    _told.add(holder)


def leave(pool: Pool) -> None:
    """Close this process's copies of the sockets of the parent's ``pool``.

    Its loop is left as it is: the loop's selector is shared with the parent, and
    to tell it of anything would tell the parent's.
    """
    pool.close_files()
    # Not to be finalized, which would complain of a loop that nobody has closed.
    _left.append(pool)


def _in_child() -> None:
    for holder in tuple(_told):
        try:
            holder._forked()
        except Exception:
            # The others have to be told all the same.
            LOG.exception("unexpected error")


# Where there is no fork there is nothing to do.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
