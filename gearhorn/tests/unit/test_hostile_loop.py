# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The loop against a plain model, with packets, losses, lists and time in any order.

The real fan-outs, deliveries, submitter, grabber, cache and connections run on a loop whose time
the test moves, beside two job servers and a store that the test plays: ``loop_world`` has them,
``loop_machine`` says what can happen, and ``loop_model`` what must come of it. Whatever they do:

* each job is answered once, on the connection that it came on, unless that was lost;
* a report says of each receiver what the servers know of its copy;
* a list that was dropped, or is too old, serves no job that was taken later;
* the copies in a queue keep the order of their jobs, but for those that a loss moved;
* at the end nothing is left over anywhere.
"""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from gearhorn.tests.unit import model_fuzz as fuzz
from gearhorn.tests.unit.loop_machine import LoopMachine, TopicOrderMachine


@pytest.mark.once
@pytest.mark.parametrize("machine", [LoopMachine, TopicOrderMachine])
def test_whatever_comes_in_whatever_order(machine: type[LoopMachine]) -> None:
    run_state_machine_as_test(machine, settings=fuzz.effort(60, stateful_step_count=50))
