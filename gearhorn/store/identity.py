# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The identity of a store, and the terms on which a store is opened."""

import enum
import secrets
from collections.abc import Collection
from typing import NamedTuple

from gearhorn import errors

TAG_CHARACTERS = 8

LAYOUT = 1
"""The layout of what is stored. It is a part of the identity, which every call checks, so a
running daemon notices when another release has converted its store."""


def new_identity() -> str:
    """Return the identity of a store that is made now."""
    return f"{secrets.token_hex(16)}.{LAYOUT}"


def check_layout(identity: str) -> None:
    """Refuse a store of another layout.

    :raises StoreMisconfigured: another release has made it, or converted it.
    """
    # Releases that knew one layout only did not write it.
    layout = identity.partition(".")[2] or "1"
    if layout != str(LAYOUT):
        raise errors.StoreMisconfigured(
            f"the store {tag_of(identity)} has layout {layout}, and this release of gearhorn knows "
            f"layout {LAYOUT}: use the release that made or converted it"
        )


def tag_of(identity: str) -> str:
    """Return the beginning of an identity, by which job servers and people know a store."""
    return identity[:TAG_CHARACTERS]


def unusable(identity: str, known: Collection[str]) -> str:
    """Return why a store may not be used, in words."""
    found = f"it is the store {tag_of(identity)}" if identity else "it is empty"
    if not known:
        return f"{found}, and making a new one is not allowed"
    return f"{found}; known here: {', '.join(sorted(known))}"


class Terms(enum.IntEnum):
    """The terms on which a store is opened."""

    LOOK = 0
    """Only one that is known, and it is not used: what was open before stays so."""
    TAKE = 1
    """Only one that is known."""
    MAKE = 2
    """One without an identity, too: it is given one, and follows those known."""
    ACCEPT = 3
    """Any, on an operator's word: it follows those known from now on."""


class Opened(NamedTuple):
    """A store that was opened. ``made`` is true if it had no identity before.

    ``follows`` are the tags of the stores in whose place this one was accepted.
    """

    identity: str
    made: bool
    follows: frozenset[str]

    @property
    def tag(self) -> str:
        return tag_of(self.identity)
