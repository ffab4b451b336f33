# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An operator's word: the store is accepted as it is, in place of all that are known.

The word comes from the configuration's own machine and is written into the store itself.
(Rejected: a job of ``fanout_query``, which any client could submit.)
"""

from collections.abc import Collection, Mapping

from gearhorn import errors
from gearhorn.daemon import stores
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.lookout import Lookout, Sight
from gearhorn.daemon.trust.memory import Memory
from gearhorn.store.base import Store
from gearhorn.store.identity import Opened, Terms


class NotAccepted(errors.GearhornError):
    """The store was not accepted: another one is in use, or nobody can tell."""

    code = "not_accepted"


async def accept(settings: DaemonSettings, despite: Collection[str]) -> str:
    """Accept the store in place of those that are known, and return what was done.

    :param despite: the tags of stores whose daemons are listed, but gone.
    :raises NotAccepted: no job server answers, or a daemon serves from another store.
    :raises StoreError: the store cannot be opened.
    """
    lookout = Lookout(settings)
    sight = await lookout.look()
    if not sight.asked:
        raise NotAccepted(
            "no job server answers, so nobody can tell whether another store is in use"
        )
    known = sight.stores | (await Memory(settings).recall()).tags
    store = stores.subscriptions_of(settings)
    try:
        with stores.naming(stores.SUBSCRIPTIONS):
            before = await _found(store)
            own = set() if before is None else {before.tag}
            for other in sorted(sight.served - own - set(despite)):
                raise NotAccepted(
                    f"{', '.join(await lookout.names(other)) or 'a daemon'} serves from the store "
                    f"{other}: give it the right [store] url, or stop it. If its host is gone and "
                    f"job servers still list it, add --despite {other}"
                )
            replaces = before is None or not known - own <= before.follows
            opened = await store.open(known | own, Terms.ACCEPT if replaces else Terms.TAKE)
            mended = await store.mend(strike_out=True)
    finally:
        await store.close()
    done = _done(opened, sight) if replaces else _in_place_already(opened, mended)
    return done + _mended(mended)


async def _found(store: Store) -> Opened | None:
    """Return the store as it is, ``None`` if it is empty."""
    try:
        return await store.open((), Terms.LOOK)
    except errors.StoreReplaced:
        return None


def _done(opened: Opened, sight: Sight) -> str:
    how = "was empty and is a new one now" if opened.made else "was accepted as it is"
    text = (
        f"the store {opened.tag} {how}, in place of {', '.join(sorted(opened.follows)) or 'none'}"
    )
    if sight.unasked:
        text += f"; not asked: {', '.join(map(str, sight.unasked))}"
    return text


def _in_place_already(opened: Opened, mended: Mapping[str, int]) -> str:
    text = f"no store is known that {opened.tag} would replace"
    return text if mended else f"nothing was changed: {text}"


def _mended(mended: Mapping[str, int]) -> str:
    """Return what became of topics whose members were gone."""
    return "".join(f"; {_fate(topic, members)}" for topic, members in mended.items())


def _fate(topic: str, members: int) -> str:
    if members:
        return f"topic {topic!r} was rebuilt with {members} members"
    if topic:
        return f"topic {topic!r} could not be rebuilt and has no subscribers now"
    return (
        "the list of topics could not be rebuilt: compare the subscribers with those that you know"
    )
