# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The two commands: ``gearhorn-fanout`` (``serve``) and ``gearhorn`` (``cli``).

``serve`` puts the parts of :mod:`gearhorn.service` in order: it reads the
configuration, takes the pid file, changes the user, sets the log up, detaches, and
runs the daemon. ``cli`` publishes, listens, and shows and mends what daemons know.
``streams`` writes to standard output and standard error, which may be full or closed.

Invariants:

* Each error ends as one sentence on standard error and an exit code that a script
  can tell from the others. A traceback is a bug.
* The commands hold nothing that others could use: no other package imports from here.
* ``cli`` works wherever a client does. It reaches daemons by their public functions,
  and never the store.

Rejected: one command for both (the daemon needs oslo.config, which is slow to load and
of no use in a shell); the exit codes of sysexits.h for ``gearhorn`` too (service
managers know them, and scripts need few).
"""
