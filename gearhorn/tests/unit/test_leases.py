# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The inequalities that the promise about registrations rests on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.daemon.leases import MARGIN, Leases, forgotten_change

valid = st.floats(0.01, 86400).flatmap(
    lambda cache_ttl: st.builds(
        Leases, st.just(cache_ttl), st.floats(1.66 * cache_ttl, 100 * cache_ttl)
    )
)


# How fast a clock runs: one of two may be faster than the other by the margin.
rate = st.floats(MARGIN**-0.5, MARGIN**0.5)


@given(valid, rate, rate, st.floats(0, 10))
def test_no_list_is_used_once_a_change_of_it_may_be_answered(
    leases: Leases, reader: float, writer: float, stored: float
) -> None:
    """The list was asked for at 0, the change stored later; nobody hears of anybody."""
    used_until = leases.cache_ttl / reader
    answered_at = stored + leases.longest_list / writer
    assert used_until <= answered_at * (1 + 1e-9)


@given(valid, rate, rate, st.floats(0, 10))
def test_no_list_is_kept_beyond_the_entry_of_its_daemon(
    leases: Leases, reader: float, reaper: float, seen: float
) -> None:
    """The renewal was asked for at 0; the reaper saw its number later, and none after it."""
    kept_until = leases.certain_entry / reader
    reaped_at = seen + leases.daemon_ttl / reaper
    assert kept_until <= reaped_at * (1 + 1e-9)


@given(valid)
def test_something_can_be_kept_until_the_next_renewal(leases: Leases) -> None:
    assert leases.cache_ttl < leases.daemon_ttl - leases.renewal_interval
    assert leases.cache_ttl + leases.renewal_interval < leases.daemon_ttl


@given(valid)
def test_who_lives_confirms_before_others_take_a_change_for_forgotten(leases: Leases) -> None:
    assert forgotten_change(leases.longest_list) > leases.longest_list > leases.cache_ttl


@given(valid)
def test_a_dead_daemon_is_removed_within_two_looks_of_its_time(leases: Leases) -> None:
    # Its last renewal is seen one look late at the most, and its end another.
    assert leases.latest_removal == pytest.approx(leases.daemon_ttl + 2 * leases.renewal_interval)


@pytest.mark.parametrize(
    ("cache_ttl", "daemon_ttl"), [(10.0, 16.5), (1.0, 1.0), (1.0, 0.1), (60.0, 60.0)]
)
def test_an_entry_that_could_end_before_a_list_is_refused(
    cache_ttl: float, daemon_ttl: float
) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"not above 1\.65 times cache_ttl"):
        Leases(cache_ttl, daemon_ttl)
