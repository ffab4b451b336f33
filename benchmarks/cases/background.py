"""Background fan-outs: copies that are queued, and received by nobody."""

from __future__ import annotations

import time

from benchmarks import bare, servers, workload
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    GearmanError,
    packet,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.results import Case, Row, alternate, ratio_at_least

_SUBSCRIBERS = 1_000
_FANOUTS_TO_MANY = 200
_FANOUTS_TO_ONE = 50_000
_REPORT = b'{"topic": "benchmark", "subscribers": 1, "queued": 1, "failed": {}}'


def _run_many(repetitions: int) -> list[Row]:
    figures, references = alternate(repetitions, _many_by_daemon, _many_by_bare_socket)
    what = f"background, {_SUBSCRIBERS:,} subscribers"
    return [Row(what, "copies/s", figures, references, ratio_at_least(0.6))]


def _many_by_daemon() -> float:
    """From the publishing of all fan-outs to the last report."""
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True)] * _FANOUTS_TO_MANY
    with servers.gearmand() as port, servers.daemon(port), Connection(port) as publisher:
        workload.register(publisher, _SUBSCRIBERS)
        start = time.perf_counter()
        run_jobs(publisher, jobs, in_flight=len(jobs))
        elapsed_s = time.perf_counter() - start
        _check_copies(port, _FANOUTS_TO_MANY * _SUBSCRIBERS)
    return _FANOUTS_TO_MANY * _SUBSCRIBERS / elapsed_s


def _many_by_bare_socket() -> float:
    """The same packets ready-made, in blocks of 500, each answered before the next."""
    names = workload.queues(_SUBSCRIBERS)
    fanouts = [workload.background_copies(names) for _ in range(_FANOUTS_TO_MANY)]
    copies = [copy for fanout in fanouts for copy in fanout]
    with servers.gearmand() as port, Connection(port) as client:
        start = time.perf_counter()
        submit_in_blocks(client, copies)
        elapsed_s = time.perf_counter() - start
        _check_copies(port, len(copies))
    return len(copies) / elapsed_s


def _run_one(repetitions: int) -> list[Row]:
    figures, references = alternate(repetitions, _one_by_daemon, _one_by_bare_sockets)
    what = "background, 1 subscriber"
    return [Row(what, "fanouts/s", figures, references, ratio_at_least(0.2))]


def _one_by_daemon() -> float:
    """From the first grab to the last answer, of jobs that were all queued before.

    The daemon is frozen while they are queued. The last job of the queue is a foreground one,
    whose report says that the others have been grabbed; what is then still running is waited for.
    """
    with servers.gearmand() as port, servers.daemon(port) as daemon, Connection(port) as publisher:
        workload.register(publisher, 1)
        daemon.freeze()
        _queue_fanouts(publisher)
        start = time.perf_counter()
        daemon.thaw()
        run_jobs(publisher, [workload.fanout_job(SUBMIT_JOB, background=True)])
        while queued_jobs(port, workload.FANOUT):
            pass
        elapsed_s = time.perf_counter() - start
        _check_copies(port, _FANOUTS_TO_ONE + 1)
    return (_FANOUTS_TO_ONE + 1) / elapsed_s


def _one_by_bare_sockets() -> float:
    """The same jobs grabbed, a ready-made copy submitted for each, and each completed.

    The copies carry no unique, since ready-made ones would coalesce: it makes the reference
    a little faster than one that submits what the daemon does.
    """
    copy = packet(SUBMIT_JOB_BG, workload.queues(1)[0], b"", workload.PAYLOAD)
    with servers.gearmand() as port, Connection(port) as publisher:
        _queue_fanouts(publisher)
        start = time.perf_counter()
        bare.fan_out_to_one(port, workload.FANOUT, copy, _REPORT, _FANOUTS_TO_ONE)
        elapsed_s = time.perf_counter() - start
        _check_copies(port, _FANOUTS_TO_ONE)
    return _FANOUTS_TO_ONE / elapsed_s


def _queue_fanouts(publisher: Connection) -> None:
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    submit_in_blocks(publisher, [job] * _FANOUTS_TO_ONE)


def _check_copies(port: int, expected: int) -> None:
    queued = queued_jobs(port, workload.TOPIC.encode())
    if queued != expected:
        raise GearmanError(f"{queued} copies are queued, not {expected}")


MANY = Case("background-many", "copies queued a second, 1,000 subscribers", 5, _run_many)
ONE = Case("background-one", "fan-outs a second, 1 subscriber", 5, _run_one)
