"""Many subscriptions put into a store at once, where registering them is not what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from benchmarks.servers import KEY_PREFIX

_AT_ONCE = 64


def load(redis_port: int, topics: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Add the client_ids of each topic, through the store's own methods.

    To be done before a daemon reads any of these topics: nobody is told.
    """
    asyncio.run(_load(redis_port, topics))


async def _load(redis_port: int, topics: Iterable[tuple[str, Sequence[str]]]) -> None:
    from gearhorn.store import open_store

    store = open_store(
        f"redis://127.0.0.1:{redis_port}/0",
        key_prefix=KEY_PREFIX,
        matchmaking_topic="__matchmaking",
        timeout=60,
    )
    await store.open()
    subscriptions = ((topic, client_id) for topic, ids in topics for client_id in ids)

    async def add() -> None:
        # All take from the same iterator.
        for topic, client_id in subscriptions:
            await store.add(topic, client_id, None)

    async def confirm() -> None:
        for change in changes:
            await store.confirm(change)

    await asyncio.gather(*[add() for _ in range(_AT_ONCE)])
    changes = iter(await store.unconfirmed(10_000_000))
    await asyncio.gather(*[confirm() for _ in range(_AT_ONCE)])
    await store.close()
