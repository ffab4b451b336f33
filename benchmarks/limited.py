# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons with limits beside a gearmand with many functions, and a worker that is slow."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

from benchmarks import servers, workload
from benchmarks.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    WORK_COMPLETE,
    Connection,
    packet,
)

NONE = {"max_waiting": 0, "max_waiting_bytes": 0, "max_total": 0, "max_total_bytes": 0}
TAKEN_A_SECOND = 2_000
_AT_ONCE = 1_000


class SlowWorker:
    """A worker that takes so many jobs a second from the queue of the first subscriber."""

    def __init__(self, port: int, taken_a_second: int = TAKEN_A_SECOND) -> None:
        self._connection = Connection(port)
        self._taken_a_second = taken_a_second
        self._thread = threading.Thread(target=self._work)
        self._ended = threading.Event()
        self._began = 0.0
        self.done = 0

    def __enter__(self) -> SlowWorker:
        (queue,) = workload.queues(1)
        self._connection.send(packet(CAN_DO, queue))
        self._connection.synchronize()
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.socket.close()

    @property
    def could(self) -> float:
        """The jobs that it could have done by now."""
        return self._taken_a_second * (time.monotonic() - self._began)

    def _work(self) -> None:
        while not self._ended.is_set():
            jobs = max(1, int(self.could) - self.done)
            self._connection.send(packet(GRAB_JOB_UNIQ) * jobs)
            answers: list[tuple[int, bytes]] = []
            while len(answers) < jobs:
                answers += self._connection.receive()
            handles = [body.split(b"\0")[0] for kind, body in answers if kind == JOB_ASSIGN_UNIQ]
            self._connection.send(
                b"".join(packet(WORK_COMPLETE, handle, b"") for handle in handles)
            )
            self.done += len(handles)
            # What it could not do while there was nothing is lost.
            time.sleep(0.01)


@contextlib.contextmanager
def system(
    daemons: int = 1, functions: int = 0, limits: dict[str, int] | None = None
) -> Iterator[int]:
    """Run a gearmand with so many functions, and daemons with these limits; yield its port."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.gearmand())
        store = stack.enter_context(servers.redis())
        if functions:
            _add_functions(stack.enter_context(Connection(port)), functions)
        for _ in range(daemons):
            stack.enter_context(servers.daemon_beside([port], store.port, limits=limits or {}))
        yield port


def _add_functions(connection: Connection, functions: int) -> None:
    names: Sequence[bytes] = [b"function%d" % number for number in range(functions)]
    for start in range(0, functions, _AT_ONCE):
        connection.send(b"".join(packet(CAN_DO, name) for name in names[start : start + _AT_ONCE]))
        connection.synchronize()
