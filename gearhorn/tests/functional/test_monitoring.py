# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard: their metrics are there, and they say what they should."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

import gearhorn
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.http import ask
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
DEPLOY = ROOT / "deploy"
RULES = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{rule["alert"]: [rule["expr"]] for rule in RULES},
    **{panel["title"]: [target["expr"] for target in panel["targets"]] for panel in PANELS},
}
OF_PROMETHEUS = {"job", "instance", "le"}
"""Labels that a sample gets when it is scraped, and those of buckets."""

Labels = Mapping[str, set[str]]


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", DEPLOY / "alerts.test.yaml")


def test_there_are_six_alerts_and_each_is_tested() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == 6
    tests = yaml.safe_load((DEPLOY / "alerts.test.yaml").read_text())["tests"]
    rows = [row for test in tests for row in test["alert_rule_test"]]
    for name in names:
        fires = [bool(row["exp_alerts"]) for row in rows if row["alertname"] == name]
        assert {True, False} == set(fires), name


def test_each_alert_has_an_entry_in_the_runbook() -> None:
    page = (ROOT / "doc/source/howto/runbook.rst").read_text()
    anchors = re.findall(r"^\.\. _(alert-[\w-]+):$", page, re.MULTILINE)
    named = [rule["annotations"]["runbook"].partition("#")[2] for rule in RULES]
    assert sorted(anchors) == sorted(named)
    assert named == [f"alert-{rule['alert'].lower()}" for rule in RULES]


def test_each_panel_of_the_dashboard_can_be_asked_for(tmp_path: Path) -> None:
    assert len(PANELS) > 30
    queries = [query for panel in PANELS for query in EXPRESSIONS[panel["title"]]]
    known = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
    for name, value in known.items():
        queries = [query.replace(name, value) for query in queries]
    assert not [query for query in queries if "$" in query]
    rules = [{"record": "panel", "expr": query} for query in queries]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    # That all have one name is a remark of promtool's lint.
    promtool("check", "rules", "--lint=none", path)


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "job", "instance"]


# What is asked for is there.


@pytest.fixture(scope="module")
def shown(_shared_redis: Redis) -> Iterator[Labels]:
    """The values of each label of each sample at ``/metrics``, with everything on."""
    with Gearmand() as gearmand:
        options: dict[str, Any] = {
            "gearman.servers": gearmand.address,
            "store.url": _shared_redis.url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
            "http.listen": f"127.0.0.1:{free_port()}",
            "http.queue_interval": 1,
            "journal.topics": "kept.*",
        }
        with Daemon(options) as daemon, Peer(gearmand.port) as client:
            request = subscription("memos", "bob")
            assert client.submit("register_fanout_subscriber", request).completed
            assert client.submit("fanout", message("memos", background=True)).completed
            # The first sample brings those of the queues.
            yield eventually(lambda: _shown(daemon, "gearhorn_topic_waiting"))


def _shown(daemon: Daemon, name: str) -> Labels:
    """All that is shown, once a metric is there."""
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(ask(daemon, "/metrics").text):
        for sample in family.samples:
            pairs = {f"{label}={value}" for label, value in sample.labels.items()}
            found.setdefault(sample.name, set()).update(sample.labels, pairs)
    return found if name in found else {}


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_each_metric_that_is_named_is_shown_with_its_labels(title: str, shown: Labels) -> None:
    for expression in EXPRESSIONS[title]:
        names = re.findall(
            r"\b(?:gearhorn|process|up)(?:_\w+|\b)", re.sub('"[^"]*"', "", expression)
        )
        assert names
        known: set[str] = set(OF_PROMETHEUS)
        for name in names:
            assert name in shown
            known |= shown[name]
        assert labels_in(expression) <= known
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
            for label, match, values in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                if label not in OF_PROMETHEUS:
                    wanted = values.split("|") if match == "=~" else [values]
                    assert {f"{label}={value}" for value in wanted} <= shown[name]


def labels_in(expression: str) -> set[str]:
    """The labels by which an expression groups or joins."""
    lists: Sequence[str] = re.findall(r"\b(?:by|on) \(([\w, ]+)\)", expression)
    return {label for names in lists for label in names.split(", ")}


def test_each_label_that_a_panel_writes_is_left_by_its_expression() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if re.search(r"\b(sum|min|max|count)\b", target["expr"]):
                assert named <= labels_in(target["expr"]), panel["title"]
            else:
                assert named <= {"instance"}
