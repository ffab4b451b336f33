# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Registers subscribers and removes them, and writes down how it went.

On bare sockets, so that it knows of each single request whether it was answered. One that was not
may be done at any later time, as Jepsen's indeterminate operations may. So the client_id of such a
request is not used for another life: nothing could be said of it with certainty.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
from pathlib import Path

from gearhorn.tests.builders import subscription
from gearhorn.tests.ledger.actor import RegistrarPart, part
from gearhorn.tests.ledger.record import Answered, Asked, NotAnswered, Writer, now
from gearhorn.tests.peer import Peer, ServerError

_REGISTER = "register_fanout_subscriber"
_UNREGISTER = "unregister_fanout_subscriber"
_RENEWALS_PER_TTL = 3


class _Life:
    """A client_id from its registration to its removal."""

    def __init__(self, client_id: str, ttl: float | None) -> None:
        self.client_id = client_id
        self.ttl = ttl
        self.asked = 0.0
        """The time of its last registration or renewal."""
        self.certain = True
        """Every request was answered."""


class Topic:
    """The subscribers of one topic; a thread."""

    def __init__(
        self,
        part: RegistrarPart,
        topic: str,
        writer: Writer,
        numbers: itertools.count[int],
        stopping: threading.Event,
    ) -> None:
        self._part = part
        self._topic = topic
        self._writer = writer
        self._numbers = numbers
        self._stopping = stopping
        self._peer: Peer | None = None
        self._free = list(part.passing)
        random.shuffle(self._free)
        self._standing = [_Life(client_id, None) for client_id in part.standing]
        self._lives: list[_Life] = []

    def run(self) -> None:
        """Register those who stay; then have others come and go until it is stopped."""
        for life in self._standing:
            self._insist(life, remove=False)
        while not self._stopping.wait(random.uniform(0, 2 * self._part.pause)):
            self._do_something()
        if self._peer is not None:
            self._peer.close()

    def _do_something(self) -> None:
        for life in (*self._standing, *self._lives):
            renew = self._part.renew if life.ttl is None else life.ttl / _RENEWALS_PER_TTL
            if renew is not None and now() > life.asked + renew:
                self._ask(life, remove=False)
                return
        if self._free and random.randrange(self._part.at_once) >= len(self._lives):
            ttl = random.choice((None, self._part.ttl))
            life = _Life(self._free.pop(), ttl)
            self._insist(life, remove=False)
            self._lives.append(life)
        elif self._lives:
            life = self._lives.pop(random.randrange(len(self._lives)))
            self._insist(life, remove=True)
            if life.certain:
                self._free.insert(0, life.client_id)

    def _insist(self, life: _Life, *, remove: bool) -> None:
        while not self._ask(life, remove=remove) and not self._stopping.wait(0.2):
            pass

    def _ask(self, life: _Life, *, remove: bool) -> bool:
        name, number = self._part.name, next(self._numbers)
        life.asked = now()
        self._writer.write(
            Asked(
                at=life.asked,
                by=name,
                number=number,
                topic=self._topic,
                client_id=life.client_id,
                remove=remove,
                ttl=None if remove else life.ttl,
            )
        )
        keys = {} if remove or life.ttl is None else {"ttl": life.ttl}
        request = subscription(self._topic, life.client_id, **keys)
        try:
            peer = self._connected()
            outcome = peer.submit(_UNREGISTER if remove else _REGISTER, request)
        except (OSError, ServerError) as error:
            self._not_answered(life, number, f"{type(error).__name__}: {error}", refused=False)
            return False
        if not outcome.completed:
            self._not_answered(life, number, repr(outcome.packets), refused=True)
            return False
        self._writer.write(Answered(at=now(), by=name, number=number))
        return True

    def _connected(self) -> Peer:
        if self._peer is None:
            host, port = random.choice(self._part.servers).split(":")
            self._peer = Peer(int(port), host, timeout_s=self._part.patience)
        return self._peer

    def _not_answered(self, life: _Life, number: int, reason: str, *, refused: bool) -> None:
        life.certain = False
        self._writer.write(
            NotAnswered(at=now(), by=self._part.name, number=number, reason=reason, refused=refused)
        )
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def main(part: RegistrarPart) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    writer = Writer(Path(part.record))
    numbers = itertools.count()
    threads = [
        threading.Thread(target=Topic(part, topic, writer, numbers, stopping).run)
        for topic in part.topics
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(part(RegistrarPart))
