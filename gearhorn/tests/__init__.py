# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The tests, against real servers on free ports of 127.0.0.1.

``unit`` needs no server and plays the other side; ``functional`` has gearmand, Redis
and daemons as processes; ``ledger`` breaks them under load and proves what was kept.
Here is what these share. ``processes`` starts programs and ends them, ``servers`` and
``daemons`` know their command lines, and ``conftest`` makes them fixtures. ``Peer``
speaks Gearman on a bare socket (``peer``, ``packets``, ``builders``), ``admin`` asks a
job server in text, ``proxy`` breaks the network, and ``sessions`` runs what a page
shows.

Invariants:

* What checks the package shares no code with it: packets and models are written anew.
* A test waits for events with ``eventually`` or a packet, never for time to pass,
  unless time is what it tests. Each test has a timeout.
* A missing server is an error that names what to install. The log of each process
  stands in the report of a test that fails.

Rejected: a mocked gearmand in functional tests (its facts are what the code is
about); containers (processes start in milliseconds, and need no rights).
"""
