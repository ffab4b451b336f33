# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The references: bare sockets that do only what Gearman itself demands."""

from __future__ import annotations

import collections
import functools
import selectors
import struct
import sys
from collections.abc import Callable, Sequence

from benchmarks.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    Connection,
    packet,
    submit,
)

GRABS_OUTSTANDING = 64
_GRAB = packet(GRAB_JOB_UNIQ)


class Completion:
    """WORK_COMPLETE packets with a ready-made report, for any job handle."""

    def __init__(self, report: bytes) -> None:
        self._report = b"\0" + report
        self._headers: dict[int, bytes] = {}

    def packet(self, handle: bytes) -> bytes:
        length = len(handle)
        if length not in self._headers:
            self._headers[length] = struct.pack(
                ">4sII", b"\0REQ", WORK_COMPLETE, length + len(self._report)
            )
        return self._headers[length] + handle + self._report


def fan_out_to_one(port: int, function: bytes, copy: bytes, report: bytes, jobs: int) -> None:
    """Grab `jobs` jobs, submit `copy` for each, complete each once its copy is queued.

    The packets of one read are answered in one write. The copies go out on a second
    connection, as a client's do.
    """
    completion = Completion(report)
    open_handles: collections.deque[bytes] = collections.deque()
    completed = 0
    with Connection(port) as worker, Connection(port) as client:
        selector = selectors.DefaultSelector()
        selector.register(worker, selectors.EVENT_READ, worker)
        selector.register(client, selectors.EVENT_READ, client)
        worker.send(packet(CAN_DO, function) + _GRAB * GRABS_OUTSTANDING)
        while completed < jobs:
            for key, _ in selector.select():
                received = key.data.receive()
                if key.data is worker:
                    handles = [
                        body.partition(b"\0")[0]
                        for kind, body in received
                        if kind == JOB_ASSIGN_UNIQ
                    ]
                    if handles:
                        open_handles.extend(handles)
                        client.send(copy * len(handles))
                        worker.send(_GRAB * len(handles))
                else:
                    worker.send(
                        b"".join([completion.packet(open_handles.popleft()) for _ in received])
                    )
                    completed += len(received)
        selector.close()
        worker.synchronize()


def relay_for_ever(port: int, function: bytes, queues: Sequence[bytes]) -> None:
    """Send the payload of each job to every queue, and complete the job once all are queued.

    The copies are ready-made: they are kept for the next job, which has the same payload.
    """
    completion = Completion(b"")

    @functools.lru_cache(maxsize=1)
    def copies(payload: bytes) -> bytes:
        return b"".join([packet(SUBMIT_JOB_BG, queue, b"", payload) for queue in queues])

    with Connection(port) as client:

        def fan_out(body: bytes) -> bytes:
            handle, _, _, payload = body.split(b"\0", 3)
            submit(client, copies(payload), len(queues))
            return completion.packet(handle)

        _work_for_ever(port, [function], fan_out, _say_ready, lambda count: None)


def receive_for_ever(
    port: int,
    queues: Sequence[bytes],
    on_ready: Callable[[], None] | None = None,
    on_receipts: Callable[[int], None] = lambda count: None,
) -> None:
    """Complete each job of every queue at once, with an empty result."""
    completion = Completion(b"")

    def complete(body: bytes) -> bytes:
        return completion.packet(body.partition(b"\0")[0])

    _work_for_ever(port, queues, complete, on_ready or _say_ready, on_receipts)


def _work_for_ever(
    port: int,
    functions: Sequence[bytes],
    answer: Callable[[bytes], bytes],
    on_ready: Callable[[], None],
    on_answered: Callable[[int], None],
) -> None:
    """Grab jobs ahead; `answer` turns a JOB_ASSIGN_UNIQ into the packet that ends it."""
    with Connection(port) as worker:
        worker.send(b"".join([packet(CAN_DO, function) for function in functions]))
        worker.synchronize()
        on_ready()
        worker.socket.settimeout(None)
        outstanding = 0
        worker.send(packet(PRE_SLEEP))
        while True:
            answers = []
            wanted = False
            for kind, body in worker.receive():
                if kind == NOOP:
                    wanted = True
                    continue
                outstanding -= 1
                if kind == JOB_ASSIGN_UNIQ:
                    wanted = True
                    answers.append(answer(body))
            answered = len(answers)
            # NO_JOB alone renews no grab, so an idle receiver falls asleep.
            if wanted:
                answers.append(_GRAB * (GRABS_OUTSTANDING - outstanding))
                outstanding = GRABS_OUTSTANDING
            elif not outstanding:
                answers.append(packet(PRE_SLEEP))
            if answers:
                worker.send(b"".join(answers))
            if answered:
                on_answered(answered)


def _say_ready() -> None:
    print("ready", flush=True)


def _main() -> None:
    """Run a receiver, or a relay: arguments PORT ["relay"], queues on standard input."""
    port = int(sys.argv[1])
    queues = sys.stdin.buffer.read().split()
    if sys.argv[2:] == ["relay"]:
        relay_for_ever(port, b"fanout", queues)
    else:
        receive_for_ever(port, queues)


if __name__ == "__main__":
    _main()
