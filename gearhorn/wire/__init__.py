# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Gearman's protocol on the event loop: the only package that imports gear.

``framing`` cuts bytes into packets. A ``Connection`` moves them; a ``Pool``
keeps one connection to each job server. Two pools stand on it: a ``Grabber``
takes jobs within a ``Window`` (``FairGrabber`` also gives each of many
functions its turn), and a ``Submitter`` sends each ``Batch`` of copies in
``Block`` after ``Block`` and tells the batch's listener what became of it.
``admin`` asks one server one thing. ``adapter`` says what of gear is used.

Invariants:

* Everything belongs to the thread of the loop; nothing blocks and nothing
  awaits between a packet and the handler that it is for.
* A connection object lives once. A handle means something on the connection
  that it came on, and nowhere else, so jobs and copies know theirs.
* Replies come in the order of requests, so no request carries a number: a
  connection that grabs sends no submissions, and the other way round.

Rejected: gear's own sockets and threads (one blocking connect for all servers,
15,000 packets a second), a thread for each server (locks around all state).
"""
