# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Waiting for a store that is away."""

from __future__ import annotations

import asyncio
import logging
import re
from types import SimpleNamespace

import pytest

from gearhorn import errors
from gearhorn.store import patience as patience_module
from gearhorn.store.patience import Patience
from gearhorn.tests.processes import until


class FakeStore:
    """Raises ``error`` while there is one; counts the calls."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    async def read(self, value: str) -> str:
        self.calls += 1
        return value

    async def write(self, value: str = "done") -> str:
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return value


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, patience_module.__name__)
    return caplog


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "FIRST_DELAY", 0.005)
    monkeypatch.setattr(patience_module, "LONGEST_DELAY", 0.02)


def levels(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in log.records]


async def settle(seconds: float = 0.05) -> None:
    await asyncio.sleep(seconds)


async def test_a_sound_store_is_called_once(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    assert await patience.call(store.read, "value") == "value"
    assert store.calls == 1
    assert patience.fault is None
    assert log.records == []


async def test_a_call_waits_until_the_store_is_back(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreAway("nobody there")
    calls = [asyncio.create_task(patience.call(store.write, str(number))) for number in range(10)]
    await until(lambda: store.calls >= 20)
    assert str(patience.fault) == "nobody there"
    assert not any(call.done() for call in calls)
    store.error = None
    assert await asyncio.gather(*calls) == [str(n) for n in range(10)]
    assert patience.fault is None
    # One line for each change, over all calls.
    assert levels(log) == ["ERROR", "INFO"]
    away, back = (record.getMessage() for record in log.records)
    assert "away" in away
    assert "nobody there" in away
    assert re.search(r"back after \d\.\d seconds", back)
    assert all(record.exc_info is None for record in log.records)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses after the attempts of a call, as they are configured; no time passes."""
    found: list[float] = []

    async def pause(seconds: float) -> None:
        found.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.undo()
    monkeypatch.setattr(patience_module, "asyncio", SimpleNamespace(sleep=pause))
    return found


async def fails(pauses: list[float], times: int) -> None:
    """A call fails so often."""
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreAway("nobody there")
    call = asyncio.create_task(patience.call(store.write))
    await until(lambda: len(pauses) >= times)
    call.cancel()


async def test_it_does_not_spin(pauses: list[float]) -> None:
    await fails(pauses, 5)
    for pause, longest in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.8), strict=False):
        # Jitter keeps calls apart.
        assert longest / 2 <= pause <= longest


async def test_the_delay_has_an_end(pauses: list[float]) -> None:
    await fails(pauses, 50)
    assert all(1 <= pause <= 2 for pause in pauses[10:])


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.StoreAway("x"), "Check that it runs"),
        (errors.StoreFull("x"), "memory or disk"),
        (errors.StoreMisconfigured("x"), "Correct"),
        (errors.StoreReplaced("x"), "accept it as it is with gearhorn-fanout --accept-store"),
        (errors.StoreError("x"), "jobs wait"),
    ],
)
async def test_each_fault_says_what_to_do(
    log: pytest.LogCaptureFixture, error: errors.StoreError, advice: str
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = error
    call = asyncio.create_task(patience.call(store.write))
    await until(lambda: store.calls >= 2)
    (record,) = log.records
    assert advice in record.getMessage()
    assert "jobs wait" in record.getMessage()
    store.error = None
    await call


async def test_another_kind_of_fault_is_said(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreAway("gone")
    calls = [asyncio.create_task(patience.call(store.write)) for _ in range(5)]
    await until(lambda: store.calls >= 10)
    store.error = errors.StoreReplaced("another")
    await until(lambda: store.calls >= 25)
    assert patience.fault is store.error
    assert levels(log) == ["ERROR", "ERROR"]
    store.error = None
    await asyncio.gather(*calls)
    assert levels(log) == ["ERROR", "ERROR", "INFO"]


async def test_each_new_reason_is_said_once(log: pytest.LogCaptureFixture) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreAway("refused")
    calls = [asyncio.create_task(patience.call(store.write)) for _ in range(5)]
    await settle()
    for reason in ("certificate expired", "refused", "certificate expired"):
        store.error = errors.StoreAway(reason)
        await settle()
    assert [record.getMessage().rpartition(": ")[2] for record in log.records] == [
        "refused",
        "certificate expired",
    ]
    for number in range(100):
        store.error = errors.StoreAway(f"reason {number}")
        await settle(0.005)
    assert len(log.records) <= patience_module.MAX_REASONS
    store.error = None
    await asyncio.gather(*calls)
    assert log.records[-1].levelname == "INFO"


async def test_reads_of_a_full_store_do_not_make_it_sound(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreFull("no memory")
    call = asyncio.create_task(patience.call(store.write))
    for _ in range(20):
        await patience.call(store.read, "value")
        await settle(0.005)
    assert patience.fault is store.error
    assert levels(log) == ["ERROR"]
    store.error = None
    await call
    assert levels(log) == ["ERROR", "INFO"]


async def test_an_answer_asked_for_before_the_fault_does_not_end_it(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    go_on = asyncio.Event()

    async def slow() -> None:
        await go_on.wait()

    early = asyncio.create_task(patience.call(slow))
    await settle(0.01)
    store.error = errors.StoreAway("gone")
    call = asyncio.create_task(patience.call(store.write))
    await until(lambda: patience.fault)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    go_on.set()
    await early
    assert str(patience.fault) == "gone"
    await patience.call(store.read, "value")
    assert patience.fault is None
    assert levels(log) == ["ERROR", "INFO"]


async def test_a_cancelled_call_ends_and_is_forgotten(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.StoreAway("gone")
    for _ in range(3):
        store.calls = 0
        call = asyncio.create_task(patience.call(store.write))
        # The first attempt has failed.
        await until(lambda: store.calls == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    # Still the same fault: not said again.
    assert levels(log) == ["ERROR"]
    store.error = None
    await patience.call(store.write)
    assert levels(log) == ["ERROR", "INFO"]


async def test_a_taken_queue_is_an_answer(
    log: pytest.LogCaptureFixture,
) -> None:
    store, patience = FakeStore(), Patience()
    store.error = errors.QueueTaken("taken")
    with pytest.raises(errors.QueueTaken):
        await patience.call(store.write)
    assert log.records == []
    store.error = errors.StoreAway("gone")
    call = asyncio.create_task(patience.call(store.write))
    await until(lambda: patience.fault)
    store.error = errors.QueueTaken("taken")
    with pytest.raises(errors.QueueTaken):
        await call
    assert patience.fault is None
    assert levels(log) == ["ERROR", "INFO"]


async def test_a_mistake_of_the_program_is_not_waited_for() -> None:
    store, patience = FakeStore(), Patience()
    store.error = KeyError("a mistake")
    with pytest.raises(KeyError):
        await patience.call(store.write)
    assert patience.fault is None
