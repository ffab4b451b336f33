# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Settings that all daemons of a store need alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.leases import MARGIN, Leases
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.messages import FunctionNames
from gearhorn.store.base import DaemonEntry

OWN = DaemonSettings((), "")

OTHERS: dict[str, dict[str, Any]] = {
    "[matchmaking] topic": {"matchmaking_topic": "__other"},
    "[matchmaking] cache_ttl": {"leases": Leases(5.0, 60.0)},
    "[matchmaking] daemon_ttl": {"leases": Leases(10.0, 90.0)},
    **{
        f"[functions] {name}": {"functions": FunctionNames(**{name: "another"})}
        for name in vars(FunctionNames())
    },
}


def entry(**changes: Any) -> DaemonEntry:
    return DaemonEntry(1, 0, Agreement(dataclasses.replace(OWN, **changes)).text)


@pytest.mark.parametrize("option", OTHERS)
def test_each_option_is_compared(option: str, caplog: pytest.LogCaptureFixture) -> None:
    agreement = Agreement(OWN)
    other = entry(**OTHERS[option])
    assert list(agreement.differing(other)) == [option]
    for _ in range(3):
        agreement.check({"me": entry(), "other": other})
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"daemon other has {option} = " in record.getMessage()


def test_limits_that_differ_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    agreement = Agreement(OWN)
    other = entry(limits=LimitSettings(max_waiting=100, overflow="skip"))
    agreement.check({"other": other, "me": entry()})
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    # True of each of them, be it a limit or what becomes of a message.
    assert all("each goes by its own" in record.getMessage() for record in caplog.records)
    assert list(agreement.differing(other)) == ["[limits] max_waiting", "[limits] overflow"]
    assert agreement.daemons == 2


def test_options_that_need_not_be_alike_are_not_compared() -> None:
    other = entry(max_in_flight=1, order="topic", drain_timeout=1.0, worker_name="other")
    assert Agreement(OWN).differing(other) == {}


def test_a_daemon_of_another_release_is_compared_in_what_both_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agreement = Agreement(OWN)
    newer = DaemonEntry(1, 0, '{"[matchmaking] cache_ttl": 7.0, "[new] option": 1}')
    agreement.check({"older": DaemonEntry(1, 0), "newer": newer})
    (record,) = caplog.records
    assert "daemon newer has [matchmaking] cache_ttl = 7.0, this one 10.0" in record.getMessage()


def test_a_daemon_that_comes_back_is_named_again(caplog: pytest.LogCaptureFixture) -> None:
    agreement = Agreement(OWN)
    other = entry(matchmaking_topic="__other")
    for daemons in ({"other": other}, {}, {"other": other}):
        agreement.check(daemons)
    assert len(caplog.records) == 2


def test_the_longest_list_is_that_of_any_daemon_that_was_ever_seen() -> None:
    agreement = Agreement(OWN)
    assert agreement.longest_list == OWN.leases.longest_list
    agreement.check({"me": entry(), "brief": entry(leases=Leases(1.0, 60.0))})
    assert agreement.longest_list == OWN.leases.longest_list
    agreement.check({"me": entry(), "long": entry(leases=Leases(20.0, 90.0))})
    agreement.check({"me": entry()})
    assert agreement.longest_list == 20.0 * MARGIN


@pytest.mark.parametrize("settings", [None, "{}", '{"[matchmaking] cache_ttl": "long"}'])
def test_a_daemon_that_does_not_tell_its_leases_has_those_of_this_one(
    settings: str | None,
) -> None:
    agreement = Agreement(OWN)
    other = DaemonEntry(1, 0, settings)
    agreement.check({"other": other})
    assert agreement.longest_list == OWN.leases.longest_list
    assert agreement.daemon_ttl(other) == OWN.leases.daemon_ttl


def test_no_list_counts_for_longer_than_its_daemons_entry_stands() -> None:
    agreement = Agreement(OWN)
    text = '{"[matchmaking] cache_ttl": 1e9, "[matchmaking] daemon_ttl": 70.0}'
    agreement.check({"other": DaemonEntry(1, 0, text)})
    assert agreement.longest_list == 70.0


@pytest.mark.parametrize(("daemon_ttl", "longer"), [(90.0, 90.0), (30.0, 60.0)])
def test_an_entry_stands_for_the_longer_time(daemon_ttl: float, longer: float) -> None:
    assert Agreement(OWN).daemon_ttl(entry(leases=Leases(5.0, daemon_ttl))) == longer
