# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a daemon, for whoever asks: monitoring systems, the page, queries.

The parts of the daemon count what they do (``daemon.metrics``). ``survey`` looks at
what is in hand at this moment. ``families`` names all of it: a ``family`` is one metric
with its values, whatever the format; those of the guard are in ``guard``, those of the last
sample of the queues in ``queues``, and those of job servers, store and other daemons in
``neighbours``.

Nothing here runs until somebody asks.
"""
