# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The stores that the settings of a daemon name."""

import contextlib
from collections.abc import Iterator

from gearhorn import errors
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store import open_journals, open_store
from gearhorn.store.base import Store
from gearhorn.store.journal import Journals

SUBSCRIPTIONS = "[store]"
"""The options of the subscriptions' store."""
JOURNALS = "[journal] url:"
"""The option of a store that the journals have for themselves."""


def subscriptions_of(settings: DaemonSettings, worker_id: str = "") -> Store:
    """Return the store of the subscriptions. It still has to be opened.

    :param worker_id: the daemon that uses it, ``""`` if none does.
    """
    return open_store(
        settings.store_url,
        key_prefix=settings.key_prefix,
        matchmaking_topic=settings.matchmaking_topic,
        timeout=settings.store_timeout,
        worker_id=worker_id,
    )


def journals_of(settings: DaemonSettings, worker_id: str = "") -> Journals:
    """Return the store of the journals. It still has to be opened.

    :param worker_id: the daemon that appends, ``""`` if none does.
    """
    own = settings.journal
    return open_journals(
        own.url or settings.store_url,
        key_prefix=settings.key_prefix,
        timeout=settings.store_timeout,
        worker_id=worker_id,
        max_topics=own.max_topics,
        id_window=own.id_window,
    )


@contextlib.contextmanager
def naming(option: str) -> Iterator[None]:
    """Have an error by which a store cannot be used as configured begin with its option."""
    try:
        yield
    except errors.StoreMisconfigured as error:
        raise errors.StoreMisconfigured(f"{option} {error}") from None
