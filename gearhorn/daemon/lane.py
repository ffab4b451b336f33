# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lane in which the fan-outs of one topic wait for their list, or for each other."""

from collections import OrderedDict

from gearhorn.daemon.turns import Waiting


class Lane:
    """The fan-outs of one topic that wait, in order."""

    __slots__ = ("busy", "copies", "fresh", "reading", "topic", "waiting")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.waiting: OrderedDict[Waiting, None] = OrderedDict()
        self.reading = False
        self.busy = False
        """True while a fan-out of the topic has not ended for whose end the others wait: any with
        ``order = topic``, and one that goes out in several turns."""
        self.copies = 0
        """The number of copies of that."""
        self.fresh: list[Waiting] = []
        """Those in the foreground that are to wait for that too, once it has begun."""
