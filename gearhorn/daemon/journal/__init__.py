# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals: the messages of some topics get a number, and are kept for those who come late.

``patterns`` says which topics have one. A fan-out of such a topic passes ``numbering``, which
has ``appends`` write it to the store, in the order in which the topic's fan-outs were taken,
and gives it its place there (``numbered``). Only then its list of subscribers is looked up:
so what has a higher sequence than a registration's answer is sent to the new subscriber, and
what has not is in the journal.

``reads`` serves those who read, and who wait for what comes next; ``replays`` puts what a
registration asks for into its queue. ``parts`` makes all of these for a daemon, and ``none``
stands in its place where no topic has a journal: there nothing costs anything.
"""
