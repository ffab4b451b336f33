# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command line by itself: help, documentation, output."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gearhorn.client.answers import refusal
from gearhorn.cmd.cli import checks, depth_checks, exits, findings, gearhorn, journal_checks, output
from gearhorn.cmd.cli.facts import Facts
from gearhorn.cmd.cli.session import FUNCTIONS
from gearhorn.messages import FunctionNames, StatusRow
from gearhorn.wire.address import Address
from gearhorn.wire.status import QueueState

REFERENCE = Path(__file__).parents[3] / "doc/source/reference"
PAGE = (REFERENCE / "cli.rst").read_text(encoding="utf-8")
EXIT_CODES = (REFERENCE / "exit-codes.rst").read_text(encoding="utf-8")

COMMANDS = sorted(gearhorn.commands)


def section(command: str) -> str:
    """Return the section of a command on the page."""
    match = re.search(rf"^``{command}\b.*\n\.+\n((?:.*\n)*?)(?=^``.*\n\.+\n|^.*\n-+\n)", PAGE, re.M)
    assert match, f"{command} is not documented"
    return match[0]


def test_these_are_the_commands() -> None:
    assert (
        sorted(
            [
                "publish",
                "listen",
                "register",
                "unregister",
                "top",
                "topics",
                "subscribers",
                "daemons",
                "read",
                "journals",
                "dead",
                "remove-daemon",
                "purge",
                "doctor",
                "export",
                "import",
            ]
        )
        == COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    text = section(command)
    for parameter in gearhorn.commands[command].params:
        if isinstance(parameter, click.Option) and parameter.name != "format":
            assert f"``{parameter.opts[-1]}" in re.sub(r"\s+", " ", text), parameter.opts
        elif isinstance(parameter, click.Argument):
            assert str(parameter.metavar or parameter.name).upper() in text


def test_every_option_before_the_command_is_documented() -> None:
    for parameter in gearhorn.params:
        assert isinstance(parameter, click.Option)
        assert f"``{parameter.opts[-1]}``" in PAGE
        if isinstance(parameter.envvar, str):
            assert f"``{parameter.envvar}``" in PAGE


def test_no_command_is_documented_that_there_is_not() -> None:
    named = re.findall(r"^``([a-z-]+).*\n\.+$", PAGE, re.MULTILINE)
    assert sorted(named) == COMMANDS


def test_every_exit_code_is_documented() -> None:
    codes = {value for value in vars(exits).values() if isinstance(value, int)}
    text = EXIT_CODES.partition(".. list of exit codes of gearhorn\n")[2]
    assert {int(number) for number in re.findall(r"^``(\d)`` ", text, re.MULTILINE)} == codes


def test_every_check_of_doctor_is_documented() -> None:
    found = {check.name for check in vars(findings).values() if isinstance(check, findings.Check)}
    documented = set(re.findall(r"^``([a-z-]+)`` +(?:error|warning|note)", PAGE, re.MULTILINE))
    assert found == documented


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = CliRunner().invoke(gearhorn, [command, "--help"], prog_name="gearhorn")

    assert done.exit_code == 0
    assert re.search(rf"^    (.*&& |.*\| |)gearhorn .*\b{command}\b", done.output, re.MULTILINE)


def test_each_command_but_one_has_the_format_behind_it_too() -> None:
    commands: dict[str, click.Command] = dict(gearhorn.commands)
    group = commands.pop("dead")
    assert isinstance(group, click.Group)
    commands |= group.commands
    without = [
        name
        for name, command in commands.items()
        if not any("--format" in parameter.opts for parameter in command.params)
    ]
    assert without == ["export"]
    assert "each command but ``export``" in " ".join(PAGE.split())


def test_help_and_version() -> None:
    done = CliRunner().invoke(gearhorn, ["--help"], prog_name="gearhorn")
    assert done.exit_code == 0
    assert "Exit codes:" in done.output
    cut_off = [line for line in done.output.splitlines()[1:] if line.endswith("...")]
    assert not cut_off
    done = CliRunner().invoke(gearhorn, ["--version"], prog_name="gearhorn")
    assert done.output.startswith("gearhorn, version ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(shell: str) -> None:
    assert f"_GEARHORN_COMPLETE={shell}_source" in PAGE
    done = CliRunner().invoke(
        gearhorn, [], prog_name="gearhorn", env={"_GEARHORN_COMPLETE": f"{shell}_source"}
    )
    assert done.exit_code == 0
    assert "_GEARHORN_COMPLETE" in done.output


def test_functions_are_called_as_the_daemon_calls_them() -> None:
    names = vars(FunctionNames())
    assert {name: names[name] for name in FUNCTIONS} == FUNCTIONS


def test_an_old_job_server_is_noted() -> None:
    facts = Facts(interval=1, functions={}, versions={Address("jobs1", 4730): "1.1.9"})
    assert "server-version" in {finding.check.name for finding in checks.check(facts)}

    for version in ("1.1.20", "1.1.21+ds", "1.2", "unheard of"):
        facts = Facts(interval=1, functions={}, versions={Address("jobs1", 4730): version})
        assert {finding.check.name for finding in checks.check(facts)} == {"server-options"}


def status_row(**keys: Any) -> StatusRow:
    """The status of a daemon, with these keys beside those that it always has."""
    return StatusRow(
        worker_id="jobs1-1-a",
        version="1",
        uptime=1.0,
        store_fault=None,
        servers={},
        fanouts=0,
        requests=1,
        cached_topics=0,
        functions={},
        matchmaking_topic="__matchmaking",
        cache_ttl=10.0,
        daemon_ttl=30.0,
        **keys,
    )


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, []),
        ({"journal_bytes": 5, "store_memory": 90, "store_max_memory": 0}, []),
        ({"journal_bytes": 5, "store_memory": None, "store_max_memory": 100}, []),
        ({"journal_bytes": 5, "store_memory": 70, "store_max_memory": 100}, []),
        ({"journal_bytes": 0, "store_memory": 90, "store_max_memory": 100}, []),
        ({"journal_bytes": 5, "store_memory": 90, "store_max_memory": 100}, ["journal-memory"]),
        ({"journal_fault": "store_away"}, ["journal"]),
        ({"journal_fault": "journals_differ"}, ["journal"]),
    ],
    ids=str,
)
def test_journals_that_wait_or_are_about_to_fill_their_store_are_found(
    keys: Any, found: list[str]
) -> None:
    # The daemon that answered appends.
    statuses = {"other": status_row(), "jobs1-1-a": status_row(**keys)}
    facts = Facts(interval=1, functions={}, statuses=statuses)
    checked = [*journal_checks.check_journals(facts)]
    assert [finding.check.name for finding in checked] == found
    for finding in checked:
        assert ("jobs1-1-a" in finding.text) == (finding.check.name == "journal")
        assert ("--adopt-journals" in finding.advice) == (finding.subject == "journals_differ")


def test_sizes_have_their_unit() -> None:
    keys = {"journal_bytes": 300 << 10, "store_memory": 1900 << 10, "store_max_memory": 2 << 20}
    facts = Facts(interval=1, functions={}, statuses={"jobs1-1-a": status_row(**keys)})
    (finding,) = journal_checks.check_journals(facts)
    assert "uses 1.9 MiB of the 2.0 MiB of its maxmemory" in finding.text
    assert finding.text.endswith("the payloads in journals are 0.3 MiB of it")


@pytest.mark.parametrize(
    ("workers", "advice"), [(0, "Start its receiver, "), (2, "Start more receivers, ")]
)
def test_the_advice_for_a_full_queue_goes_by_its_workers(workers: int, advice: str) -> None:
    states = {Address("jobs1", 4730): {"memos_bob": QueueState(100, 0, workers)}}
    facts = Facts(interval=1, functions={}, first=states, second=states, full={"memos_bob"})
    (finding,) = depth_checks.check_depths(facts)
    assert finding.check.name == "queue-full"
    assert finding.advice.startswith(advice)
    assert "seven eighths" in finding.advice


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d"), (-1, "-1 s")],
)
def test_durations_are_printed_in_a_unit_that_reads_well(value: float, text: str) -> None:
    assert output.seconds(value) == text


def test_long_lists_are_cut() -> None:
    assert output.listed("abc", 3) == "a, b, c"
    assert output.listed("abcd", 3) == "a, b, c and 1 more"


def test_an_answer_that_is_no_refusal() -> None:
    assert refusal(b"").code == "bad_answer"
    assert refusal(b'{"error": "brand_new", "message": "no"}').code == "brand_new"
    assert str(refusal(b'{"error": "queue_taken", "message": "no"}')) == "no"
