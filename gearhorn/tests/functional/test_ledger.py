# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The ledger and the soak in their short forms, and what the checker finds.

``tools/run-ledger`` and ``tools/run-soak`` are the long forms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import show_log
from gearhorn.tests.ledger import record as r
from gearhorn.tests.ledger.checker import check
from gearhorn.tests.ledger.clustered import ClusterScene
from gearhorn.tests.ledger.durability import measure
from gearhorn.tests.ledger.filling import KINDS as WAYS_TO_FILL
from gearhorn.tests.ledger.filling import FillableScene, Filling
from gearhorn.tests.ledger.forgetting import KINDS, ForgetfulScene, Forgetting
from gearhorn.tests.ledger.journaling import APPENDFSYNC, JournalRunner, JournalScene, Kills
from gearhorn.tests.ledger.runner import Runner
from gearhorn.tests.ledger.scene import DAEMON_OPTIONS, Scene
from gearhorn.tests.ledger.schedule import Schedule
from gearhorn.tests.ledger.soak import Soak, growths

pytestmark = pytest.mark.once

SEED = 3
# A server that does not get the processor for so long is not taken for dead, which would be a
# fault that nobody wrote down.
OPTIONS = {**DAEMON_OPTIONS, "gearman.liveness_timeout": 30}
RECOVERY_LIMIT_S = 60.0
"""Of a machine that does much else; it takes 1 to 5 seconds."""

NewScene = Callable[..., Any]


@pytest.fixture
def new_scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[NewScene]:
    scenes = []

    def make(kind: type[Scene] = Scene, **options: Any) -> Scene:
        scene = kind(tmp_path, **options)
        scenes.append(scene)
        for process in scene.processes.values():
            show_log(request.node, process)
        return scene

    yield make
    for scene in scenes:
        scene.close()


def say(line: str) -> None:
    print(line)  # noqa: T201 - shown where the test fails


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_under_faults(new_scene: NewScene) -> None:
    scene = new_scene(topics=2, daemons=2, subscribers=2, passing=10, daemon_options=OPTIONS)
    runner = Runner(scene, say, recovery_limit_s=RECOVERY_LIMIT_S, calm_s=1.0)

    verdict = runner.run(Schedule(SEED, scene.targets, pause=0.3), faults=12, per_round=12)

    say(str(verdict))
    assert not verdict.violations, verdict
    assert verdict.faults.total() == 12
    assert verdict.required > 0


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_where_a_cluster_moves_its_slots(new_scene: NewScene) -> None:
    scene = new_scene(
        ClusterScene, topics=2, daemons=2, subscribers=2, passing=10, daemon_options=OPTIONS
    )
    runner = Runner(scene, say, recovery_limit_s=RECOVERY_LIMIT_S, calm_s=1.0)
    hit = ("slot", "redis", "daemon", "gearmand")
    targets = {name: share for name, share in scene.targets.items() if name.startswith(hit)}

    verdict = runner.run(Schedule(SEED, targets, pause=0.3), faults=10, per_round=10)

    say(str(verdict))
    assert not verdict.violations, verdict
    assert verdict.faults["move"] > 0
    assert verdict.faults["fail over"] > 0
    assert verdict.required > 0


@pytest.mark.timeout(240)
def test_no_message_is_lost_in_silence_where_the_store_forgets(new_scene: NewScene) -> None:
    scene = new_scene(ForgetfulScene, topics=2, daemons=2, publishers=1, subscribers=2, passing=5)
    forgetting = Forgetting(
        scene,
        say,
        seed=SEED,
        recovery_limit_s=RECOVERY_LIMIT_S,
        calm_s=0.3,
        actions=2,
        pause_s=0.2,
    )

    verdict = forgetting.run(KINDS)

    say(str(verdict))
    assert not verdict.violations, verdict
    assert all(verdict.faults[kind] == 1 for kind in KINDS)
    assert verdict.required > 0


@pytest.mark.timeout(240)
def test_what_is_called_queued_arrives_and_what_is_called_full_does_not(
    new_scene: NewScene,
) -> None:
    scene = new_scene(FillableScene, topics=1, daemons=2, subscribers=2)
    filling = Filling(scene, say, seed=SEED, recovery_limit_s=RECOVERY_LIMIT_S, calm_s=0.2)

    verdict = filling.run(len(WAYS_TO_FILL))

    say(str(verdict))
    assert not verdict.violations, verdict
    assert verdict.faults.total() == len(WAYS_TO_FILL) + 2
    assert verdict.required > verdict.full > 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "options",
    [*({"appendfsync": each} for each in APPENDFSYNC), {"store": "sqlite"}],
    ids=[*APPENDFSYNC, "sqlite"],
)
def test_whoever_has_a_position_sees_all_that_is_in_a_journal_though_everybody_is_killed(
    new_scene: NewScene, options: dict[str, str]
) -> None:
    scene = new_scene(JournalScene, topics=2, daemons=2, publishers=1, subscribers=1, **options)
    runner = JournalRunner(scene, say, recovery_limit_s=RECOVERY_LIMIT_S, calm_s=0.2)
    hit = ("daemon", "gearmand", "redis", "follower", "tailer")
    targets = {name: share for name, share in scene.targets.items() if name.startswith(hit)}

    verdict = runner.run(Kills(SEED, targets, pause=0.3), faults=10, per_round=10)

    say(str(verdict))
    assert not verdict.violations, verdict
    assert verdict.faults.total() == 10
    assert verdict.journals is not None
    assert verdict.journals.required > 0


@pytest.mark.timeout(240)
def test_nothing_grows_while_connections_are_reset(new_scene: NewScene) -> None:
    options = {**OPTIONS, "matchmaking.cache_ttl": 0.5}
    scene = new_scene(topics=2, daemons=2, subscribers=2, queue="builtin", daemon_options=options)
    soak = Soak(scene, say, reset_every_s=1.0, sample_every_s=0.2)

    verdict = soak.run(8.0)

    # Memory takes longer than this to say something.
    assert not growths(soak.samples, ("files", "threads", "keys"))
    assert not verdict.violations, verdict
    assert verdict.required > 0


def test_gearmand_with_a_queue_in_sqlite_loses_nothing_that_it_acknowledged() -> None:
    durability = measure(3, "libsqlite3")
    assert durability.acknowledged > 0
    assert durability.lost == 0


def test_a_seed_repeats_a_schedule() -> None:
    targets = {"daemon-0": 2.0, "gearmand-0": 1.0, "net-client-0": 1.0}

    def faults(seed: int) -> list[object]:
        schedule = Schedule(seed, targets, 0.5)
        return [*schedule.round(20), *schedule.round(20)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)


# The checker, on records that were made up: bob is registered from 2 on.

ATTEMPT = r.Attempt(at=3, by="p", message="m", topic="t", digest="d", background=True)
ANSWER = r.Acknowledged(at=4, by="p", message="m", failed=[])
RECEIPT = r.Receipt(at=5, by="s", message="m", topic="t", client_id="bob", digest="d")
REGISTRATION: list[r.AnyEntry] = [
    r.Asked(at=1, by="r", number=0, topic="t", client_id="bob", remove=False),
    r.Answered(at=2, by="r", number=0),
]


def removal(at: float, answered: float | None) -> list[r.AnyEntry]:
    asked = r.Asked(at=at, by="r", number=1, topic="t", client_id="bob", remove=True)
    return [asked] if answered is None else [asked, r.Answered(at=answered, by="r", number=1)]


def fault(begins: float, recovered: float) -> list[r.AnyEntry]:
    return [
        r.FaultBegan(at=begins, by="x", number=0, kind="kill", target="daemon-0"),
        r.Healed(at=begins, by="x", round=0),
        r.Recovered(at=recovered, by="x", round=0, missing=[]),
    ]


def findings(*entries: r.AnyEntry) -> list[str]:
    in_order = sorted(entries, key=lambda entry: entry.at)
    verdict = check(in_order, recovery_limit_s=10)
    return [violation.partition(":")[0] for violation in verdict.violations]


def receipt(at: float = 5, client_id: str = "bob", digest: str = "d") -> r.Receipt:
    return r.Receipt(at=at, by="s", message="m", topic="t", client_id=client_id, digest=digest)


def test_the_checker_is_content_with_what_is_right() -> None:
    assert findings(*REGISTRATION, ATTEMPT, ANSWER, RECEIPT) == []
    # Without an answer nothing is promised.
    assert findings(*REGISTRATION, ATTEMPT) == []
    # Nor to somebody who comes or goes meanwhile.
    assert findings(*REGISTRATION, *removal(3.5, 3.6), ATTEMPT, ANSWER) == []
    assert findings(*REGISTRATION, *removal(3.5, 3.6), ATTEMPT, ANSWER, RECEIPT) == []
    assert findings(*REGISTRATION, *removal(2.5, None), ATTEMPT, ANSWER) == []
    assert findings(*fault(3, 4.5), *REGISTRATION, ATTEMPT, ANSWER, RECEIPT, receipt(6)) == []


@pytest.mark.parametrize(
    ("finding", "entries"),
    [
        ("lost", [ATTEMPT, ANSWER]),
        ("lost", [ATTEMPT, ANSWER, receipt(client_id="alice"), *fault(3, 6)]),
        ("twice without a fault", [ATTEMPT, ANSWER, RECEIPT, receipt(6)]),
        ("twice without a fault", [ATTEMPT, ANSWER, RECEIPT, receipt(6), *fault(0.1, 0.2)]),
        ("not intact", [ATTEMPT, ANSWER, receipt(digest="e")]),
        ("never sent", [RECEIPT]),
        ("before it was sent", [ATTEMPT, ANSWER, receipt(2.5)]),
        ("not subscribed", [ATTEMPT, ANSWER, RECEIPT, receipt(client_id="alice")]),
        ("not subscribed", [*removal(2.2, 2.4), ATTEMPT, ANSWER, RECEIPT]),
        ("forgotten", [r.Stored(at=9, by="x", began=8, members={})]),
        ("not removed", [r.Stored(at=9, by="x", began=8, members={"t": ["bob", "alice"]})]),
        ("not recovered", fault(3, 20)),
        ("process", [r.Ended(at=3, by="x", process="daemon-0", reason="ended with 1")]),
        ("refused", [r.NotAnswered(at=3, by="r", number=7, reason="?", refused=True)]),
    ],
)
def test_the_checker_finds(finding: str, entries: list[r.AnyEntry]) -> None:
    alice: list[r.AnyEntry] = [
        r.Asked(at=0.1, by="r", number=8, topic="t", client_id="alice", remove=True),
        r.Answered(at=0.2, by="r", number=8),
    ]
    assert finding in findings(*alice, *REGISTRATION, *entries)
    # And only that, whatever else is missing from so short a record.
    assert set(findings(*alice, *REGISTRATION, *entries)) <= {finding, "lost", "not subscribed"}


def reported(**counts: Any) -> r.Acknowledged:
    """An answer that says that bob's queue is full, or something else."""
    said = {"failed": ["bob"], "full": ["bob"], "subscribers": 1, **counts}
    return r.Acknowledged(at=4, by="p", message="m", **said)


@pytest.mark.parametrize(
    ("found", "entries"),
    [
        ([], [reported()]),
        (["sent to a full queue"], [reported(), RECEIPT]),
        (["sent to a full queue"], [reported(failed=[], full=[], skipped=1), RECEIPT]),
        (["lost", "sum"], [reported(failed=[], full=[], unsaid=1)]),
        # A daemon that died may have sent it, and another have found the queue full.
        ([], [reported(), RECEIPT, *fault(3.5, 4.5)]),
        (["sent to a full queue"], [reported(), RECEIPT, *fault(4.5, 5.5)]),
    ],
)
def test_the_checker_compares_what_was_called_full_with_what_arrived(
    found: list[str], entries: list[r.AnyEntry]
) -> None:
    assert findings(*REGISTRATION, ATTEMPT, *entries) == found


@pytest.mark.parametrize(
    ("attempted", "lost"), [(2.5, ["lost"]), (4.5, []), (7.5, ["lost"])], ids=str
)
def test_a_registration_with_a_ttl_is_certain_until_it_ends(
    attempted: float, lost: list[str]
) -> None:
    def register(number: int, at: float) -> list[r.AnyEntry]:
        return [
            r.Asked(at=at, by="r", number=number, topic="t", client_id="b", remove=False, ttl=3.0),
            r.Answered(at=at + 0.5, by="r", number=number),
        ]

    # The renewal comes too late: it begins a time of its own.
    entries = [*register(0, 1), *register(1, 6)]
    attempt = r.Attempt(at=attempted, by="p", message="m", topic="t", digest="d", background=True)
    answer = r.Acknowledged(at=attempted + 0.4, by="p", message="m", failed=[])
    assert findings(*entries, attempt, answer) == lost


# The store forgets at 2.5, and what was answered since 1.5.

FORGOT = r.Forgot(at=2.6, by="x", began=2.5, since=1.5, kind="evicted")
REBUILT = r.Named(at=2.8, by="daemon-0", text="The set of topic 't' was gone from Redis")


def again(answered: float) -> list[r.AnyEntry]:
    """Bob registers again, at any time before or after the loss."""
    return [
        r.Asked(at=2.3, by="r", number=2, topic="t", client_id="bob", remove=False),
        r.Answered(at=answered, by="r", number=2),
    ]


@pytest.mark.parametrize(
    ("found", "entries"),
    [
        ([], [FORGOT, REBUILT, ATTEMPT, ANSWER]),
        (["lost in silence"], [FORGOT, ATTEMPT, ANSWER]),
        (
            ["lost in silence"],
            [FORGOT, r.Named(at=2.2, by="d", text=REBUILT.text), ATTEMPT, ANSWER],
        ),
        (["lost in silence"], [FORGOT, r.Named(at=3, by="d", text="an error"), ATTEMPT, ANSWER]),
        (
            ["lost in silence"],
            [FORGOT, r.Named(at=3, by="d", text="The set of topic 'u' was"), ATTEMPT, ANSWER],
        ),
        # What was answered before then has to be there, and what is answered after it.
        (
            ["lost"],
            [r.Forgot(at=2.6, by="x", began=2.5, since=2.1, kind="evicted"), ATTEMPT, ANSWER],
        ),
        (["lost"], [FORGOT, REBUILT, *again(2.9), ATTEMPT, ANSWER]),
        ([], [FORGOT, REBUILT, *again(2.4), ATTEMPT, ANSWER]),
        # A job that was queued before is run later.
        (
            ["lost in silence"],
            [
                r.Forgot(at=6, by="x", began=5, since=1.5, kind="evicted"),
                ATTEMPT,
                r.Acknowledged(at=4, by="p", message="m", failed=[], queued=True),
            ],
        ),
    ],
)
def test_the_checker_asks_for_a_line_about_what_the_store_forgot(
    found: list[str], entries: list[r.AnyEntry]
) -> None:
    assert findings(*REGISTRATION, *entries) == found


@pytest.mark.parametrize(("seconds", "found"), [(3, []), (0, ["lost in silence"])])
def test_the_checker_believes_the_time_that_a_line_tells(seconds: int, found: list[str]) -> None:
    line = r.Named(
        at=4.5,
        by="daemon-0",
        text="The store went back to an older state. Registrations may be missing since the newest "
        f"renewal of a daemon in it, {seconds} seconds ago",
    )
    forgot = r.Forgot(at=2.6, by="x", began=2.5, since=1.5, kind="restored")
    assert findings(*REGISTRATION, forgot, line, ATTEMPT, ANSWER) == found
