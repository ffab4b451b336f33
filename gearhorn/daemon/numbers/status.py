# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The status of a daemon, as it tells it to whoever asks."""

from gearhorn import errors, messages
from gearhorn.daemon.numbers.families import numbers
from gearhorn.daemon.numbers.survey import Survey
from gearhorn.version import installed_version


def status_row(
    survey: Survey,
    fault: errors.StoreError | None,
    *,
    worker_id: str,
    uptime: float,
    differs: errors.GearhornError | None,
) -> messages.StatusRow:
    """Return the status of a daemon.

    :param fault: the error with which the store has just answered, if it has.
    :param differs: why the daemon's patterns of journals are not in force, if they are not.
    """
    settings, workers = survey.settings, survey.workers
    # The store may answer reads while it refuses changes.
    fault = fault or survey.patience.fault
    return messages.StatusRow(
        worker_id=worker_id,
        version=installed_version(),
        uptime=round(uptime, 3),
        store_fault=None if fault is None else fault.code,
        servers={str(s): s in survey.submitter.servers for s in settings.servers},
        fanouts=workers.fanouts.held,
        fanouts_open=survey.fanouts.open,
        requests=workers.requests.held + workers.queries.held + workers.reads.held,
        cached_topics=survey.lists.kept,
        functions=vars(settings.functions),
        matchmaking_topic=settings.matchmaking_topic,
        cache_ttl=settings.leases.cache_ttl,
        daemon_ttl=settings.leases.daemon_ttl,
        store_evicts=survey.store.evicts,
        limits=vars(settings.limits),
        deepest=survey.seen.deepest(),
        **survey.journals.status(differs),
        counters=numbers(survey),
    )
