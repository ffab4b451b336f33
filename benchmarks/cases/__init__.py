# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The cases, in the order in which they are run."""

from benchmarks.cases import (
    background,
    catching_up,
    client,
    daemons,
    end_to_end,
    fairness,
    foreground,
    growth,
    journals,
    large,
    latency,
    limits,
    memory,
    registrations,
    scale,
    spread,
    waiting,
)

CASES = (
    background.MANY,
    background.ONE,
    end_to_end.CASE,
    end_to_end.SIZES,
    end_to_end.SUBSCRIBERS,
    latency.CASE,
    client.SUBSCRIBER,
    client.PUBLISHER,
    foreground.CASE,
    fairness.CASE,
    waiting.CASE,
    large.CASE,
    registrations.CASE,
    journals.CASE,
    catching_up.CASE,
    scale.CASE,
    spread.CASE,
    daemons.CASE,
    limits.CASE,
    memory.CASE,
    growth.CASE,
)
