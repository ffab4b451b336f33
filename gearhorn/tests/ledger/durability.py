# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The jobs that gearmand loses by itself: acknowledged to a bare client, and gone after a kill.

The daemons can promise no more than this.
"""

from __future__ import annotations

import random
import shutil
import threading
from typing import NamedTuple

from gearhorn.tests.ledger.scene import queue_arguments, scratch
from gearhorn.tests.peer import Peer
from gearhorn.tests.servers import Gearmand

_QUEUE = "durability"


class Durability(NamedTuple):
    """The figures."""

    kills: int
    acknowledged: int
    """Background jobs with JOB_CREATED."""
    lost: int
    unacknowledged_kept: int
    duplicates: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.acknowledged} jobs acknowledged, {self.lost} lost, "
            f"{self.duplicates} twice; {self.unacknowledged_kept} kept that were not acknowledged"
        )


def measure(kills: int, queue: str) -> Durability:
    """Kill a gearmand in the middle of submissions so often, then take all that it has."""
    directory = scratch()
    acknowledged: set[str] = set()
    number = 0
    try:
        with Gearmand(*queue_arguments(queue, directory / "queue.db")) as server:
            for _ in range(kills):
                peer = Peer(server.port)
                killer = threading.Timer(random.uniform(0.05, 0.5), server.kill)
                killer.start()
                try:
                    while True:
                        number += 1
                        peer.start(_QUEUE, str(number), background=True, unique=str(number))
                        acknowledged.add(str(number))
                except OSError:
                    peer.close()
                killer.join()
                server.start()
            received = _take_all(Peer(server.port))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Durability(
        kills,
        len(acknowledged),
        len(acknowledged.difference(received)),
        len(set(received).difference(acknowledged)),
        len(received) - len(set(received)),
    )


def _take_all(worker: Peer) -> list[str]:
    taken = []
    with worker:
        worker.can_do(_QUEUE)
        while (job := worker.try_grab()) is not None:
            taken.append(job.data.decode())
            worker.complete(job)
        # The server has read the last of these when it answers.
        worker.echo()
    return taken
