# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon: fan-outs, registrations, and the matchmaking among daemons.

``fanout`` takes fan-outs. It gets the topic's ``recipients`` from the ``list_cache``,
or lets the fan-out wait in the topic's lane while they are read (``rounds``). The
``guard`` counts the message and leaves full queues out. A ``delivery`` then submits a
batch of copies for each job server (``placement``) and ends the job with its report.
``registry`` takes registrations. It changes the store, has ``matchmaking`` tell every
daemon (``notices``), and answers once no list from before can be in use (``leases``).
``upkeep`` does regular work that nobody asks for. ``assembly`` makes the parts and connects them,
``daemon`` starts and stops them.

Four rooms: ``guard`` keeps queues within their limits, ``journal`` keeps the messages of
topics that have one, ``trust`` decides which store may be used, and ``numbers`` shows what
the parts have counted (``metrics``).

Invariants:

* A job is answered once, when it is done or can never be done. One whose
  connection is lost is abandoned: gearmand gives it to a daemon again.
* A list is used within ``cache_ttl`` from before it was asked for, and kept only
  while the daemon's own entry stands. All else may wait, fail or be repeated.
* A topic's fan-outs reach a job server in the order in which they were taken.
* Calls to the store wait in ``store.patience``, but for work that comes again anyway. A
  store that is away never looks like "no subscribers".

Rejected: a thread or a task for each fan-out (a fan-out is an object with a
count and a deadline); notices without leases (a daemon may be frozen and go on
with an old list); leases alone (each registration would wait for one).
"""
