# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client library: publishers and subscribers, for threads and for asyncio.

The public names are importable from :mod:`gearhorn`. The event loop does the work.
``AsyncPublisher`` sends requests by a ``Caller``, a submitter whose copies are the
requests. A ``Reception`` receives messages by a fair grabber, sends their answers and
keeps subscriptions registered (``subscriptions``). When a handler raises, ``retries``
has it called again, or ``dead_letters`` publish its message, while the job is held
(``holding``). ``Publisher`` and ``Subscriber`` are the same for programs with threads:
a ``LoopThread`` runs the loop, and handlers get their messages through an ``Inbox``.

Invariants:

* Any thread may publish, answer a message and stop a subscriber; the sockets
  belong to the loop alone.
* A message is answered once, by its handler's end or by the handler itself, and
  the answer goes out on the connection that it came on.
* A message that is given up is answered only after its dead letter is queued or refused.
* A request that was lost with its server is sent to another, with the same unique for
  the copies and a new one for the job.

Rejected: background jobs for background fan-outs (nobody would get the report);
a connection for each topic (a gateway has thousands).
"""
