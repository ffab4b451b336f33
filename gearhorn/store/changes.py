# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Changes that every daemon has to know of."""

from typing import NamedTuple


class Change(NamedTuple):
    """A change of a topic's subscribers that nobody has confirmed yet.

    A version is a number from the counter for all topics, which only rises, and a
    nonce of the call that made the change.
    """

    topic: str
    version: int
