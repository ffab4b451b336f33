# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checks of ``gearhorn doctor`` on which store each daemon uses, by their marks."""

from collections.abc import Iterator, Mapping, Sequence

from gearhorn.cmd.cli import findings
from gearhorn.cmd.cli.facts import Facts, function_names, workers_of
from gearhorn.cmd.cli.findings import Finding
from gearhorn.cmd.cli.output import listed
from gearhorn.cmd.cli.session import total
from gearhorn.messages import Marks, is_mark, queue_name


def check_stores(facts: Facts) -> Iterator[Finding]:
    """Yield all findings about daemons that wait for a store or use another."""
    status = facts.status
    if status is None or "fanout" not in status.functions:
        return
    marks = Marks(status.matchmaking_topic, status.functions["fanout"])
    serving: dict[str, Sequence[str]] = {}
    for function, mark in marks.read(function_names(facts)):
        if not total(facts.second, function).workers:
            continue
        names = workers_of(facts, function)
        if not mark.waits:
            serving[mark.store] = names
            continue
        yield Finding(
            findings.DAEMON_WAITS,
            mark.store,
            f"{_daemons(names)} for the store {mark.store}, as it is empty or another one",
            "Restore its data, or correct [store] url and key_prefix; or accept the store as it "
            "is: gearhorn-fanout --config FILE --accept-store. Until then jobs wait.",
        )
    if len(serving) > 1:
        yield _differing(serving)


def is_a_mark(function: str, matchmaking_topic: str) -> bool:
    """Return true if a function is the mark of a daemon, of this shop or of another."""
    prefix = queue_name(matchmaking_topic, "")
    return function.startswith(prefix) and is_mark(function.removeprefix(prefix))


def _daemons(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"daemon {names[0]} waits"
    return f"daemons {listed(names)} wait" if names else "a daemon waits"


def _differing(serving: Mapping[str, Sequence[str]]) -> Finding:
    stores = sorted(serving)
    return Finding(
        findings.DAEMON_STORE,
        " ".join(stores),
        "daemons serve the same fan-outs from different stores: "
        + "; ".join(f"{store} ({listed(serving[store]) or 'unknown'})" for store in stores),
        "Give all daemons the same [store] url and key_prefix, or other names of functions: each "
        "message reaches the subscribers of one store only.",
    )
