"""What more daemons and more job servers bring, on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import time

from benchmarks import servers, workload
from benchmarks.packets import SUBMIT_JOB, Connection, run_jobs
from benchmarks.processes import Process
from benchmarks.results import Case, Plan, Row

_SUBSCRIBERS = 1_000
_DAEMONS = (1, 2, 4)
_GEARMANDS = (1, 2)


def _run(plan: Plan) -> list[Row]:
    settings = [(daemons, gearmands) for gearmands in _GEARMANDS for daemons in _DAEMONS]
    measured: dict[tuple[int, int], list[tuple[float, float, float]]] = {
        setting: [] for setting in settings
    }
    for _ in range(plan.repetitions):
        for setting in settings:
            measured[setting].append(_measure(plan.choose(300, 100), *setting))
    rows = []
    for (daemons, gearmands), figures in measured.items():
        row = functools.partial(
            Row, at=daemons, series=f"{gearmands} gearmand{'s' if gearmands > 1 else ''}"
        )
        what = f"{daemons} daemon{'s' if daemons > 1 else ''}, {row.keywords['series']}"
        rates, daemon_cores, gearmand_cores = zip(*figures, strict=True)
        rows += [
            row(what, "copies/s", rates),
            row(f"{what}", "processors", daemon_cores, name="all daemons"),
            row(f"{what}", "processors", gearmand_cores, name="all gearmands"),
        ]
    return rows


def _measure(fanouts: int, daemons: int, gearmands: int) -> tuple[float, float, float]:
    """Copies a second, and the processors that the daemons and the gearmands used for them."""
    job = workload.fanout_job(SUBMIT_JOB, background=True)
    share = fanouts // gearmands
    with contextlib.ExitStack() as stack:
        job_servers = [stack.enter_context(servers.job_server()) for _ in range(gearmands)]
        ports = [server.port for server in job_servers]
        store = stack.enter_context(servers.redis())
        processes = [
            stack.enter_context(servers.daemon_beside(ports, store.port)) for _ in range(daemons)
        ]
        publishers = [stack.enter_context(Connection(port)) for port in ports]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(gearmands))
        workload.register(publishers[0], _SUBSCRIBERS)
        used = _cpu_s(processes), _cpu_s([server.process for server in job_servers])
        start = time.perf_counter()
        list(pool.map(lambda publisher: run_jobs(publisher, [job] * share), publishers))
        elapsed_s = time.perf_counter() - start
        daemons_s = _cpu_s(processes) - used[0]
        gearmands_s = _cpu_s([server.process for server in job_servers]) - used[1]
    copies = share * gearmands * _SUBSCRIBERS
    return copies / elapsed_s, daemons_s / elapsed_s, gearmands_s / elapsed_s


def _cpu_s(processes: list[Process]) -> float:
    return sum(process.cpu_s() for process in processes)


CASE = Case("daemons", "1, 2, 4 daemons and 1, 2 gearmands", 3, _run, "daemons")
