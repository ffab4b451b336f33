# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Handlers of signals that subscribers take and give back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from gearhorn.client.signals import stop_on_signals


@pytest.fixture
def own() -> Iterator[list[int]]:
    """The signals that the program's own handler was called with."""
    called: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))
    yield called
    signal.signal(signal.SIGTERM, former)


def test_one_that_ends_in_another_thread_swallows_no_signal(own: list[int]) -> None:
    context = stop_on_signals(lambda: own.append(0))
    context.__enter__()
    thread = threading.Thread(target=context.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    assert own == [signal.SIGTERM] * 2


def test_one_of_another_thread_that_ends_in_the_main_thread_takes_no_handler_away(
    own: list[int],
) -> None:
    other = stop_on_signals(lambda: own.append(0))
    thread = threading.Thread(target=other.__enter__)
    thread.start()
    thread.join()
    with stop_on_signals(lambda: own.append(1)):
        other.__exit__(None, None, None)
        signal.raise_signal(signal.SIGTERM)
        assert own == [1]
        signal.raise_signal(signal.SIGTERM)
    assert own == [1, signal.SIGTERM]


def test_one_that_ended_in_another_thread_leaves_the_programs_handler_known(
    own: list[int],
) -> None:
    first = stop_on_signals(lambda: own.append(0))
    first.__enter__()
    thread = threading.Thread(target=first.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    with stop_on_signals(lambda: own.append(1)):
        pass
    signal.raise_signal(signal.SIGTERM)
    assert own == [signal.SIGTERM]


def test_one_that_begins_after_a_first_signal_is_stopped_by_the_next(own: list[int]) -> None:
    with stop_on_signals(lambda: own.append(0)):
        signal.raise_signal(signal.SIGTERM)
        with stop_on_signals(lambda: own.append(1)):
            signal.raise_signal(signal.SIGTERM)
    assert own == [0, 0, 1]
