# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``tools/fuzz`` tries all that is hostile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gearhorn
from gearhorn.tests.unit import model_fuzz as fuzz

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
TOOL = (ROOT / "tools/fuzz").read_text()


def test_each_target_is_tried() -> None:
    (targets,) = re.findall(r"for target in ([a-z ]+);", TOOL)
    assert targets.split() == list(fuzz.TARGETS)


def test_each_test_that_makes_an_effort_is_run_for_long() -> None:
    tests = Path(__file__).parent.glob("test_*.py")
    effort = {path.name for path in tests if re.search(r"fuzz\.effort\(\d", path.read_text())}
    assert effort == set(re.findall(r"unit/(test_\w+\.py)", TOOL))


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_target_takes_its_seeds_and_any_part_of_them(target: str) -> None:
    for seed in fuzz.SEEDS[target]:
        for size in (*range(100), len(seed)):
            fuzz.TARGETS[target](seed[:size])
