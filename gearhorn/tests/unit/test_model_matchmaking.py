# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""No list is stale after an answer, in any order of steps; and each rule is needed for that."""

from __future__ import annotations

import pytest

from gearhorn.tests.unit import model_matchmaking as model

# It computes for seconds, and for longer where others compute beside it.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]


def test_no_stale_list_is_used_after_an_answer() -> None:
    explored = model.explore()
    assert explored.trace is None, " / ".join(explored.trace)
    # It is not true for want of anything that happens.
    assert explored.states > 50_000
    assert explored.answers > 10_000


@pytest.mark.parametrize("rule", model.RULES)
def test_each_rule_is_needed(rule: str) -> None:
    explored = model.explore(without=rule)
    assert explored.trace is not None, f"nothing goes wrong without: {model.RULES[rule]}"
