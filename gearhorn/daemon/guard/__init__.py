# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The guard: no queue, and no number of queues, fills a job server.

``guard`` is asked for each fan-out: it counts the message and leaves full queues out.
``depth`` has the credit of a topic, which is how many messages may go before somebody
has to look again; ``totals`` has that of a job server; ``limits`` says how deep is too
deep. ``looks`` reads the ``status`` of the job servers, as often as ``pace`` allows, and
``seen`` keeps what came of it. ``deep_log`` tells the operator of deep queues.

``unserved`` tells by the same looks which queues nobody serves. ``endings`` ends those
subscriptions, and has ``discarding`` empty the queues of those that have ended.

``sampler`` counts all queues by topic from the same looks, in the daemon that is told to, and
``sample`` is what it counts.

The daemon that sends is the one that refuses. gearmand's own ``maxqueue`` is not used: it
counts by function, fails whole jobs, and cannot tell a report which receiver was full.
"""
