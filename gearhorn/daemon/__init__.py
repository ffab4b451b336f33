# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the daemon does: fan-outs, registrations, and knowing the other daemons.

A fan-out is taken by ``fanout``, which gets the topic's ``recipients`` from the
``list_cache``, or waits in the topic's lane while they are read. A ``delivery``
then submits a batch of copies for each job server (``placement``) and ends the
job with its report. A registration is taken by ``registry``: it changes the
store, has ``matchmaking`` tell every daemon (``notices``), and is answered once
no list from before can be in use (``leases``). ``upkeep`` does now and then what
nobody asks for. ``daemon`` puts the parts together and connects them.

Invariants:

* A job is answered once, when it is done or can never be done. One whose
  connection is lost is abandoned: gearmand gives it to a daemon again.
* A list is used within ``cache_ttl`` from before it was asked for, and kept only
  while the daemon's own entry stands. All else may wait, fail or be repeated.
* A topic's fan-outs reach a job server in the order in which they were taken.
* What waits for the store waits in ``store.patience``, and never turns into "no
  subscribers".

Rejected: a thread or a task for each fan-out (a fan-out is an object with a
count and a deadline), telling daemons without leases (one may be frozen and go
on with an old list), leases alone (each registration would wait for one).
"""
