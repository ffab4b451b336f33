# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals, as readers and as subscribers with a position see them.

``order`` has the rules by which a subscriber with a position sees each message in order and
once. It does no I/O and has no clock: a test drives it through every order of events. It
keeps ``places``, which are written as bytes. A ``Follower`` (``following``) is one queue
with its order: it asks daemons, waits, writes, and hands each message to the handler. The
``Positions`` of a subscriber hold all of its followers, and ask every ``check_interval`` if
something was left out. ``file_position`` is where positions are written, unless the program
brings a place of its own. ``reader`` and ``async_reader`` read without any subscription.
What an answer lacks is found in ``missing`` for both.

Invariants:

* One message of a queue is in hand at a time: handled, then written, then answered.
* A number that no daemon has confirmed moves no position by more than one.
* What is not shown was handled before, or is told to ``on_missed``.

Rejected: reading the journal first (a queue may hold more than the backlog); a position in
the store of the daemons (each message would cost a write there, and daemons would have to
be told who reads).
"""
