# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An operator's word: the patterns of this configuration become those of all daemons.

They are written into the subscriptions' store, beside the identity of the journals' store.
Every daemon is told by whoever confirms that change; those with other patterns then take
nothing more, and those with these ones serve.
"""

from gearhorn import errors
from gearhorn.daemon import stores
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.stores import naming
from gearhorn.store.base import Store
from gearhorn.store.identity import Terms


class NotAdopted(errors.GearhornError):
    """The patterns were not adopted."""

    code = "not_adopted"


async def adopt(settings: DaemonSettings) -> str:
    """Write the patterns of the configuration into the store, and return what was done.

    :raises NotAdopted: a daemon of an older release is there, or there is no store.
    :raises StoreError: a store cannot be opened.
    """
    store = stores.subscriptions_of(settings)
    try:
        return await _adopt(settings, store)
    finally:
        await store.close()


async def _adopt(settings: DaemonSettings, store: Store) -> str:
    with naming(stores.SUBSCRIPTIONS):
        try:
            found = await store.open((), Terms.LOOK)
        except errors.StoreReplaced:
            raise NotAdopted("the store is empty: start a daemon, which makes it") from None
        await store.open((found.tag,), Terms.TAKE)
        before = await store.patterns()
    texts = Patterns(settings.journal).texts
    journals = await _identity(settings)
    with naming(stores.SUBSCRIPTIONS):
        written = await store.adopt_patterns(texts, journals)
    if written.ignorant:
        raise NotAdopted(
            "daemons of an older release are there, which know of no journals: "
            f"{', '.join(sorted(written.ignorant))}. Stop them first"
        )
    new, old = ", ".join(texts) or "none", ", ".join(before.patterns) or "none"
    if written.patterns.version == before.version:
        return f"nothing was changed: the patterns of the store {found.tag} are {new}"
    return f"the patterns of the store {found.tag} are {new}, in place of {old}"


async def _identity(settings: DaemonSettings) -> str:
    """Return the identity of the journals' store, ``""`` if it is that of the subscriptions."""
    if settings.journal.url is None:
        return ""
    journals = stores.journals_of(settings)
    try:
        with naming(stores.JOURNALS):
            return (await journals.open()).identity
    finally:
        await journals.close()
