# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a user sees, with real job servers, stores and daemons.

Most share one gearmand and one daemon for the whole session, and each has a ``Topic``
of its own (``conftest``). Tests that harm or configure a daemon start their own
(``daemon``, ``topic_with``), and those of several daemons have a ``Fleet``.
``command``, ``gearman_tool``, ``languages`` and ``standalone`` run programs,
``subscribing`` runs the library's subscribers, and ``hostile`` and ``harm`` attack a
daemon and check that it is unharmed. ``store`` has one suite for every kind of store.

Invariants:

* A test speaks to gearhorn as users do: by packets, commands, the library or signals.
* A name or an entry of one test is never another's: topics and key prefixes are random.
* A workaround for a foreign program has a test that fails without it.

Rejected: a daemon in the test's own process (a signal, a crash and a frozen process
could not be tested); a daemon for each test (starting takes longer than most tests).
"""
