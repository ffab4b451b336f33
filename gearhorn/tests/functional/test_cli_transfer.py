# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Moving all subscriptions from one store to another, from a shell."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.cli import Result, Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional import command
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

Shop = Callable[..., Result]

LIMITS = {"max_waiting": 500, "overflow": "skip", "remove_idle": 3600.0}
SUBSCRIPTIONS: list[dict[str, Any]] = [
    {"topic": "memos", "client_id": "alice"},
    {"topic": "memos", "client_id": "bob", **LIMITS},
    {"topic": "memos", "client_id": "carol", "remove_idle": 0.0},
    {"topic": "memos", "client_id": "visitor", "ttl": 3600.0, "max_waiting": 100},
    {"topic": "mémos \u2028", "client_id": "zoë"},
]


def shop_of(server: Gearmand) -> Shop:
    return functools.partial(gearhorn, [server.address])


def exported(shop: Shop) -> list[dict[str, Any]]:
    """The subscriptions of a shop, with the time that is left of them rounded."""
    done = shop("export")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    for row in rows:
        if "ttl" in row:
            row["ttl"] = round(row["ttl"], -2)
    return rows


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def counts(done: Result) -> dict[str, int]:
    """What an import did, without what it did to none."""
    document = json.loads(done.stdout)
    document.pop("failures")
    return {name: count for name, count in document.items() if count}


def restore(shop: Shop, file: str, *options: str) -> dict[str, int]:
    done = shop("import", "-", "--format", "json", *options, stdin=file)
    assert done.returncode == 0, done.stderr
    return counts(done)


def test_subscriptions_move_from_redis_to_sqlite_and_back(
    gearmand: Gearmand, start: Start, daemon: NewDaemon, tmp_path: Path
) -> None:
    daemon()
    other = start(Gearmand())
    daemon(servers=[other], store_url=f"sqlite://{tmp_path}/store.db")
    redis_shop, sqlite_shop = shop_of(gearmand), shop_of(other)
    assert restore(redis_shop, lines(*SUBSCRIPTIONS)) == {"added": 5}
    assert exported(redis_shop) == SUBSCRIPTIONS

    done = redis_shop("export")
    assert done.stderr == "5 subscriptions of 2 topics.\n"
    file = tmp_path / "subscriptions.jsonl"
    file.write_text(done.stdout)

    dry = sqlite_shop("import", str(file), "--dry-run")
    assert dry.stdout == (
        "5 subscriptions would be: 5 added, 0 changed, 0 renewed, 0 unchanged, 0 failed.\n"
    )
    assert exported(sqlite_shop) == []

    done = sqlite_shop("import", str(file))
    assert done.stdout == "5 subscriptions: 5 added, 0 changed, 0 renewed, 0 unchanged, 0 failed.\n"
    assert exported(sqlite_shop) == SUBSCRIPTIONS

    # Again: what has lost some seconds meanwhile gets them back, and nothing else is touched.
    assert restore(sqlite_shop, file.read_text()) == {"renewed": 1, "unchanged": 4}

    # And back, where it is all there still, with more time than what comes.
    back = sqlite_shop("export").stdout
    assert restore(redis_shop, back, "--dry-run")["unchanged"] >= 4
    redis_shop("unregister", "memos", "bob")
    redis_shop("register", "memos", "carol", "--max-waiting", "1000")
    assert restore(redis_shop, lines(*SUBSCRIPTIONS[:3])) == {
        "added": 1,
        "changed": 1,
        "unchanged": 1,
    }
    assert exported(redis_shop) == SUBSCRIPTIONS


def test_a_shop_moves_to_another_store_as_the_page_says(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    shop = shop_of(gearmand)
    remembers: dict[str, Any] = {"service.state_dir": tmp_path / "state"}
    old = daemon(**remembers)
    shop("register", "memos", "bob", "--max-waiting", "200")
    saved = shop("export").stdout
    assert old.stop() == 0
    peer().submit(
        "fanout", {"topic": "memos", "payload": "hi", "background": True}, background=True
    )
    moved: dict[str, Any] = {**remembers, "store_url": f"sqlite://{tmp_path}/store.db"}

    # Under another name the daemon makes the new store, and the fan-out goes on waiting.
    between = daemon(**{**moved, "functions.fanout": "fanout_later"})
    assert restore(shop, saved) == {"added": 1}
    assert between.stop() == 0
    assert gearmand.admin.queue("fanout").total == 1

    # Under its own it knows the old one, and waits for the word.
    new = daemon(wait_ready=False, **moved)
    eventually(lambda: "The store was emptied or is another one" in new.log)
    word = command.run("--config", new.config_file, "--accept-store")
    assert word.returncode == 0, word.stderr
    new.wait_ready()
    assert eventually(lambda: gearmand.admin.queue("memos_bob").total) == 1
    assert exported(shop) == [{"topic": "memos", "client_id": "bob", "max_waiting": 200}]


def test_an_import_never_shortens_a_subscription(run: Run, topic: Topic) -> None:
    topic.subscribe("lasting")
    topic.subscribe("visitor", ttl=7200)
    rows = [{"topic": topic.name, "client_id": name, "ttl": 60} for name in ("lasting", "visitor")]

    assert restore(run, lines(*rows)) == {"unchanged": 2}
    # Nor where it changes something else.
    assert restore(run, lines(*({**row, "max_waiting": 100} for row in rows))) == {"changed": 2}

    shown = json.loads(run("subscribers", topic.name, "--format", "json").stdout)
    assert [row["max_waiting"] for row in shown] == [100, 100]
    assert shown[0]["expires_in"] is None
    assert shown[1]["expires_in"] > 7000
    # One that ends becomes permanent, if the file has it so.
    assert restore(run, lines({"topic": topic.name, "client_id": "visitor"})) == {"changed": 1}


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("nonsense", "invalid_json", "line 3: the request is not JSON"),
        ("[]", "not_an_object", "line 3: the request must be a JSON object"),
        ('{"topic": "memos"}', "missing_key", "line 3: the key client_id is missing"),
        ('{"topic": "", "client_id": "a"}', "invalid_topic", "line 3: "),
        (
            '{"topic": "memos", "client_id": "a", "max_waiting": 1}',
            "invalid_limits",
            "line 3: max_waiting must be 100 or more",
        ),
        ('{"topic": "memos", "client_id": "a", "queue": "q"}', "unknown_key", "line 3: unknown"),
    ],
)
def test_a_file_with_a_wrong_line_changes_nothing(
    run: Run, topic: Topic, line: str, code: str, text: str
) -> None:
    good = lines({"topic": topic.name, "client_id": "bob"})

    done = run("--format", "json", "import", "-", stdin=f"{good}\n{line}\n")

    assert (done.returncode, done.stdout) == (3, "")
    refused = json.loads(done.stderr)
    assert refused["error"] == code
    assert refused["message"].startswith(text)
    assert topic.reached() == 0


def test_lines_that_the_daemons_refuse_are_named_and_the_others_done(
    run: Run, topic: Topic
) -> None:
    # Its queue is that of bob.
    prefix, rest = topic.name, "x"
    topic.subscribe(f"{rest}_bob")
    rows = lines(
        {"topic": f"{prefix}_{rest}", "client_id": "bob"},
        {"topic": topic.name, "client_id": "alice"},
    )

    dry = run("import", "-", "--dry-run", stdin=rows)
    assert dry.stdout == (
        "2 subscriptions would be: 1 added, 0 changed, 0 renewed, 0 unchanged, 1 failed.\n"
    )

    done = run("import", "-", stdin=rows)

    assert done.returncode == dry.returncode == 1
    assert done.stderr == dry.stderr
    assert done.stderr.startswith("line 1: queue_taken: ")
    assert done.stdout == (
        "2 subscriptions: 1 added, 0 changed, 0 renewed, 0 unchanged, 1 failed.\n"
    )
    done = run("import", "-", "--format", "json", stdin=rows)
    assert counts(done) == {"unchanged": 1, "failed": 1}
    (failure,) = json.loads(done.stdout)["failures"]
    assert (failure["line"], failure["error"]) == (1, "queue_taken")


def test_a_dry_run_foresees_names_that_are_taken_or_the_daemons_own(run: Run, topic: Topic) -> None:
    rows = [
        {"topic": "__matchmaking", "client_id": "bob"},
        {"topic": "fanout", "client_id": "query"},
        {"topic": "__Matchmaking", "client_id": "bob"},
        # Two names of one queue.
        {"topic": topic.name, "client_id": "x_y"},
        {"topic": f"{topic.name}_x", "client_id": "y"},
    ]
    refusals = {1: "reserved_topic", 2: "reserved_queue", 3: "reserved_queue"}

    def failures(rows: list[dict[str, Any]], *options: str) -> dict[int, str]:
        done = run("import", "-", "--format", "json", *options, stdin=lines(*rows))
        assert done.returncode == 1, done
        return {one["line"]: one["error"] for one in json.loads(done.stdout)["failures"]}

    assert failures(rows, "--dry-run") == {**refusals, 5: "queue_taken"}
    assert topic.reached() == 0
    # Of the last two, whichever comes first.
    assert failures(rows[:4]) == refusals


def test_of_two_lines_for_one_subscription_the_last_counts(run: Run, topic: Topic) -> None:
    row = {"topic": topic.name, "client_id": "bob"}

    assert restore(run, lines(row, {**row, "max_waiting": 100})) == {"added": 1}

    (shown,) = json.loads(run("subscribers", topic.name, "--format", "json").stdout)
    assert shown["max_waiting"] == 100


def test_without_a_job_server_nothing_is_exported_or_imported() -> None:
    away = f"127.0.0.1:{free_port()}"
    for arguments in (["export"], ["import", "-"]):
        done = gearhorn([away], *arguments, stdin='{"topic": "memos", "client_id": "bob"}')
        assert (done.returncode, done.stdout) == (4, "")
        assert away in done.stderr
