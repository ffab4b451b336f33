# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Gearman's protocol on the event loop: the only package that imports gear.

``framing`` cuts bytes into packets. A ``Connection`` moves them; a ``Pool``
keeps one connection to each job server. There are three kinds of pool. A ``Grabber``
takes jobs within a ``Window`` (``FairGrabber`` also gives each of many functions
its turn). A ``Submitter`` sends each ``Batch`` of copies in ``Block`` after
``Block``, and tells the batch's listener the outcome. A ``Marker`` shows functions that nobody
works on. ``admin`` asks one server one thing; ``look`` asks how deep its queues are, again
and again, and ``status`` reads the answer. ``adapter`` shows which parts of gear are used.

Invariants:

* Everything belongs to the thread of the loop. Nothing blocks, and nothing awaits
  between a packet and its handler.
* A connection object is never connected again. A handle means something only on
  the connection that it came on, so jobs and copies know theirs.
* Replies come in the order of requests, so requests carry no number: a connection
  that grabs sends no submissions, and the other way round.

Rejected: gear's own sockets and threads (one blocking connect for all servers,
15,000 packets a second), a thread for each server (locks around all state).
"""
