# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: what it prints, writes and refuses, not how fast anything is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gearhorn

ROOT = Path(gearhorn.__file__).parent.parent

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        not (ROOT / "benchmarks").is_dir(),
        reason="the benchmarks are not installed with the package",
    ),
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_case_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = run("small-topics", "--quick", "--json", str(file))
    # 1: a target was missed, as may be on a busy machine.
    assert done.returncode in (0, 1), done.stderr
    assert "background, 1 subscriber" in done.stdout
    assert "ratio >= 0.3" in done.stdout
    results = json.loads(file.read_text())
    assert results["quick"] is True
    assert results["machine"]["processors"] >= 1
    row, _ = results["cases"]["small-topics"]["rows"]
    assert (row["name"], row["unit"]) == ("gearhorn", "fanouts/s")
    assert row["reference_name"] == "bare sockets"
    (figure,), (reference,) = row["figures"], row["references"]
    assert figure > 0
    assert row["ratio"] == pytest.approx(figure / reference)
    assert row["target_met"] == (done.returncode == 0)
    assert row["target_met"] == (row["ratio"] >= 0.3)
    headings, *lines = done.stdout.partition("µs of processor time")[2].splitlines()[1:3]
    assert headings.split() == ["benchmark", "gearmand", "redis-server", "daemon", "processors"]
    assert lines[0].split()[:4] == ["background,", "1", "subscriber", "gearhorn"]
    for spent, programs in (("spent", {"daemon", "redis-server"}), ("reference_spent", set())):
        by_program = row[spent]["by_program"]
        assert by_program.keys() == {"benchmark", "gearmand"} | programs
        assert all(time["kernel"] >= 0 for time in by_program.values())
        # One cannot have been busy for longer than all took, on each processor.
        busy_s = sum(time["whole"] for time in by_program.values())
        assert 0 < busy_s < row[spent]["elapsed_s"] * results["machine"]["processors"] * 1.1
        assert by_program["gearmand"]["whole"] > 0
    for contender, module in (("RabbitMQ", "pika"), ("NATS core", "nats")):
        line = f"skipped: {contender}: the Python module {module} is missing (see --install-help)"
        missing = importlib.util.find_spec(module) is None
        assert (line in done.stdout) == missing
        if missing:
            assert contender in results["skipped"]


def test_a_journal_is_measured_beside_what_is_chosen(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    arguments = ("catching-up", "--quick", "--contenders", "Streams-batched", "--json", str(file))
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["cases"]["catching-up"]["rows"]
    assert {row["reference_name"] for row in rows} == {"Redis stream"}
    assert {row["unit"] for row in rows} == {"messages/s", "bytes"}
    assert len(rows) == 6
    for row in rows:
        (figure,), (reference,) = row["figures"], row["references"]
        assert figure > 0
        assert reference > 0
    shown = run("--from", str(file), "--plots", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    assert "10,000 caught up, in memory" in shown.stdout


def test_turns_are_told_by_their_medians_and_ranges() -> None:
    processes, report, figures = (
        importlib.import_module(f"benchmarks.{name}") for name in ("processes", "report", "figures")
    )

    def measured(rate: float, gearmand_s: float, kernel_s: float) -> Any:
        spent = {"gearmand": processes.ProcessorTime(gearmand_s, kernel_s)}
        return figures.Measured(rate, figures.Spent(spent, 2e-6))

    turns = [measured(100, 3e-6, 1e-6), measured(300, 1e-6, 2e-6), measured(200, 2e-6, 0.0)]
    missed = figures.Row("many", "copies/s", turns, [200.0] * 3, figures.ratio_at_least(1.01))
    met = figures.Row("few", "ms", [1.0, 2.0], target=figures.figure_at_most(1.5))

    _, first, second = report.table([missed, met]).splitlines()
    for cell in ("200 (100-300)", "200 (200-200)", "1.00 (0.50-1.50)", "ratio >= 1.01 MISSED"):
        assert cell in first
    assert second.split() == ["few", "ms", "1.50", "(1.00-2.00)", "<=", "1.5", "met"]
    # Those of the second row are not known.
    headings, only = report.processor_time([missed, met]).splitlines()
    assert headings.split() == ["gearmand", "processors"]
    assert only.split() == ["many", "gearhorn", "2.00", "(1.00)", "1.00"]
    assert report.processor_time([met]) == ""


@pytest.mark.parametrize("results", sorted((ROOT / "benchmarks/results").glob("*.json")))
def test_stored_results_are_shown_and_drawn_as_they_are_kept(results: Path, tmp_path: Path) -> None:
    done = run("--from", str(results), "--plots", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout == results.with_suffix(".txt").read_text("utf-8")
    # Those that the documentation shows.
    shown = sorted((ROOT / "doc/source/plots").glob("*.svg"))
    assert len(shown) > 4
    for drawing in shown:
        assert drawing.read_text("utf-8") == (tmp_path / drawing.name).read_text("utf-8")


def test_a_run_names_what_became_slower(tmp_path: Path) -> None:
    path = ROOT / "benchmarks/results/2026-11.json"
    assert run("--from", str(path), "--compare", str(path)).stdout.endswith(
        "nothing became slower\n"
    )

    stored = json.loads(path.read_text("utf-8"))
    faster = stored["cases"]["fanout-rate"]["rows"][0]
    faster["ratios"] = [ratio / 0.89 for ratio in faster["ratios"]]
    sooner = stored["cases"]["latency"]["rows"][0]
    sooner["ratios"] = [ratio * 0.88 for ratio in sooner["ratios"]]
    hardly = stored["cases"]["small-topics"]["rows"][0]
    hardly["ratios"] = [ratio / 0.92 for ratio in hardly["ratios"]]
    before = tmp_path / "before.json"
    before.write_text(json.dumps(stored), "utf-8")
    done = run("--from", str(path), "--compare", str(before))

    assert done.returncode == 1
    told = done.stdout.rpartition("\n\n")[2].splitlines()
    assert told == [
        "fanout-rate: background, 1,000 subscribers beside bare sockets: 0.89 of the stored speed",
        "latency: to the last of 1, median beside two bare hops: 0.88 of the stored speed",
    ]


def test_drawings_can_be_compared_by_eye() -> None:
    plots, stored = (importlib.import_module(f"benchmarks.{name}") for name in ("plots", "stored"))
    drawing = importlib.import_module("gearhorn.tests.drawing")
    results = stored.read(ROOT / "benchmarks/results/2026-11.json")
    (latency,) = (case for case in results if case.name == "latency")
    drawn = plots.drawing(latency, results[latency])
    # Far longer than all others.
    assert ">4,404, cut</text>" in drawn
    assert drawing.ORANGE in drawn
    for case, rows in results.items():
        of_curves = [row for row in rows if row.at is not None and case.is_drawn(row)]
        if of_curves:
            for _, lines in plots._panels(of_curves):
                assert len(lines) <= 5
                assert len({line.label for line in lines}) == len(lines)


def test_it_says_how_to_get_what_it_compares_with() -> None:
    done = run("--install-help")
    assert done.returncode == 0
    for part in ("rabbitmq-server", "nats-server", "redis-server", "pika", "nats-py"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-case",), "no such case: no-case"),
        (("--contenders", "Nobody"), "no such contender: Nobody"),
        (("--repetitions", "0"), "argument --repetitions"),
        (("--quick", "--compare", "results.json"), "compare with nothing"),
    ],
)
def test_the_benchmarks_refuse_arguments_that_they_do_not_know(
    arguments: tuple[str, ...], said: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
