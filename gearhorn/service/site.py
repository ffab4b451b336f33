# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the daemon shows over HTTP: probes, metrics, and the page for people."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.numbers.families import families
from gearhorn.daemon.numbers.family import Family
from gearhorn.service import page
from gearhorn.service.exposition import KIND, Exposition
from gearhorn.service.health import Check, readiness, remarks
from gearhorn.service.http import Response, plain
from gearhorn.service.watching import Watching
from gearhorn.version import installed_version

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"


class Site:
    """The answers to all paths.

    :param configuration: the options in force, without secrets.
    """

    def __init__(
        self, daemon: Daemon, watching: Watching, configuration: Mapping[str, str]
    ) -> None:
        self._daemon = daemon
        self._watching = watching
        self.configuration = configuration
        self._exposition = Exposition(self._families)
        self._paths = {
            "/livez": self._live,
            "/healthz": self._live,
            "/readyz": self._ready,
            "/startupz": self._started,
            "/metrics": self._metrics,
            "/status.json": self._status,
            "/": self._page,
        }

    def respond(self, path: str, query: str) -> Response | None:
        """Return the answer to a path; ``None`` if there is no such path."""
        answer = self._paths.get(path)
        if answer is None:
            return None
        names = {part.partition("=")[0] for part in query.split("&")}
        return answer("verbose" in names)

    # Probes.

    def _live(self, verbose: bool) -> Response:
        # That this runs shows that the loop does. Nothing outside counts: a daemon that waits
        # for its store must not be started again and again.
        failed = self._daemon.failed
        text = "a part that it cannot do without has ended" if failed else "it answers"
        return _answer([Check("live", not failed, text, "The log says why.")], verbose)

    def _ready(self, verbose: bool) -> Response:
        return _answer(readiness(self._daemon), verbose)

    def _started(self, verbose: bool) -> Response:
        return _answer(readiness(self._daemon)[:1], verbose)

    # What is shown.

    def _families(self) -> Iterator[Family]:
        yield from families(self._daemon.survey)
        yield from self._watching.families()

    def _metrics(self, verbose: bool) -> Response:
        return Response(HTTPStatus.OK, self._exposition.text(), KIND)

    def _status(self, verbose: bool) -> Response:
        return Response(HTTPStatus.OK, json.dumps(self.state()).encode(), _JSON)

    def _page(self, verbose: bool) -> Response:
        return Response(HTTPStatus.OK, page.render(self.state()), _HTML, page.POLICY)

    def state(self) -> dict[str, Any]:
        """Return all that the page shows."""
        daemon, survey = self._daemon, self._daemon.survey
        needed, more = readiness(daemon), remarks(daemon)
        level, verdict = _verdict(needed, more)
        fault = survey.fault()
        return {
            "worker_id": daemon.worker_id,
            "version": installed_version(),
            "uptime": round(daemon.uptime, 3),
            "level": level,
            "verdict": verdict,
            "ready": all(check.ok for check in needed),
            "checks": [check._asdict() for check in (*needed, *more)],
            "job_servers": list(self._job_servers()),
            "store": {
                "up": survey.store_is_up(),
                "kind": survey.settings.store_url.partition(":")[0],
                "fault": None if fault is None else f"{fault.code}: {fault}",
                "calls_waiting": survey.patience.waiting,
                "fault_seconds": round(survey.patience.fault_seconds, 3),
            },
            "journals": self._journals(),
            "rates": {name: round(rate, 3) for name, rate in self._watching.rates().items()},
            "totals": dict(self._watching.totals()),
            "in_hand": self._in_hand(),
            "queues": self._queues(),
            "daemons": [
                {
                    "worker_id": worker_id,
                    "state": survey.state_of(entry),
                    "age": entry.age,
                    "differs": sorted(survey.agreement.differing(entry)),
                }
                for worker_id, entry in sorted(survey.matchmaking.entries.items())
            ],
            "warnings": [
                {
                    "time": datetime.fromtimestamp(line.time, timezone.utc).isoformat(
                        sep=" ", timespec="seconds"
                    )[:19],
                    "level": line.level,
                    "text": line.text,
                }
                for line in self._watching.warnings()
            ],
            "configuration": dict(self.configuration),
        }

    def _journals(self) -> dict[str, Any] | None:
        """Return the state of the journals, ``None`` if the configuration has no topics of any."""
        journals = self._daemon.survey.journals
        if journals.patterns is None:
            return None
        fault = self._daemon.journals_differ or journals.fault
        return {
            "up": fault is None,
            "apart": journals.is_apart,
            "fault": None if fault is None else f"{fault.code}: {fault}",
            "messages_waiting": journals.waiting,
            "readers_waiting": journals.readers,
            "replays": journals.replays_running,
        }

    def _in_hand(self) -> dict[str, int | float]:
        survey = self._daemon.survey
        in_flight = survey.in_flight()
        waiting = survey.fanouts.waiting()
        return {
            "background_fanouts": in_flight["background"],
            "foreground_fanouts": in_flight["foreground"],
            "fanouts_waiting_for_a_list": waiting["list"],
            "fanouts_waiting_for_a_job_server": waiting["job_server"],
            "fanouts_waiting_for_their_turn": waiting["turn"],
            "most_fanouts": survey.settings.max_in_flight,
            "seconds_of_the_oldest": round(survey.oldest_s(), 3),
            "bytes_held": survey.workers.fanouts.held_bytes,
            "registrations_and_queries": survey.workers.requests.held + survey.workers.queries.held,
            "lists_kept": survey.lists.kept,
        }

    def _queues(self) -> dict[str, Any] | None:
        """Return the last sample, if this daemon samples."""
        sampler = self._daemon.survey.sampler
        sample = sampler.last
        if sampler.interval is None or sample is None:
            return None if sampler.interval is None else {"sampled": None}
        taken = datetime.fromtimestamp(sampler.taken_at, timezone.utc)
        return {
            "sampled": taken.isoformat(sep=" ", timespec="seconds")[:19],
            "complete": sampler.complete,
            "topics": sample.topics,
            "subscriptions": sample.subscriptions,
            "waiting": sample.waiting,
            "running": sample.running,
            "states": dict(sample.states),
            "deepest": sample.deepest,
            "nonempty_seconds": round(sample.nonempty_s, 3),
            "top": [
                {
                    "topic": topic.name,
                    "waiting": topic.waiting,
                    "workers": topic.workers,
                    "unread_queues": topic.unread,
                    "nonempty_seconds": round(topic.nonempty_s, 3),
                }
                for topic in sample.top
            ],
        }

    def _job_servers(self) -> Iterator[dict[str, Any]]:
        survey = self._daemon.survey
        for server in survey.settings.servers:
            pools = survey.pools().items()
            block_size, unsent, unanswered = survey.submitter.load(server)
            yield {
                "address": str(server),
                "connected": [role for role, pool in pools if server in pool.connections],
                "missing": [role for role, pool in pools if server not in pool.connections],
                "block_size": block_size,
                "copies_unsent": unsent,
                "copies_unanswered": unanswered,
            }


def _answer(checks: Sequence[Check], verbose: bool) -> Response:
    """Return the answer of a probe, with a line for each check if one wants to know."""
    sound = all(check.ok for check in checks)
    lines = [
        f"[+] {check.name}: {check.text}"
        if check.ok
        else f"[-] {check.name}: {check.text}. {check.advice}"
        for check in checks
        if verbose or not check.ok
    ]
    lines.append("ok" if sound else "failed")
    return plain(HTTPStatus.OK if sound else HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(lines))


def _verdict(needed: Sequence[Check], more: Sequence[Check]) -> tuple[str, str]:
    """Return the level, and how the daemon is, in a sentence."""
    failing = [check for check in needed if not check.ok]
    if failing:
        return "error", "It does not serve."
    if more:
        return "warning", "It serves, and something needs attention."
    return "ok", "It serves, and nothing is to be done."
