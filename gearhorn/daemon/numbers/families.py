# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""All numbers of a daemon, by name: what its parts have counted, and what is in hand.

doc/source/reference/metrics.rst describes each. Labels have values from closed lists, of
which all are there from the start, and the addresses of the configured job servers. Never
has one a name that comes from a request: those would make series without end. But for the
topics of a sample, so many at the most (``queues``).
"""

from collections.abc import Iterator, Mapping, Sequence

from gearhorn import errors, messages
from gearhorn.daemon import metrics, workers
from gearhorn.daemon.metrics import COPIES_BOUNDS
from gearhorn.daemon.numbers.family import STORE_CODES, Family, Value, by, one, plain
from gearhorn.daemon.numbers.guard import guard, open_fanouts
from gearhorn.daemon.numbers.journals import journals
from gearhorn.daemon.numbers.neighbours import daemons, job_servers, store
from gearhorn.daemon.numbers.queues import sampled
from gearhorn.daemon.numbers.survey import MODES, Survey
from gearhorn.wire.tally import Histogram

_ANY = (
    messages.OK,
    errors.InvalidJSON.code,
    errors.NotAnObject.code,
    errors.UnknownKey.code,
    errors.MissingKey.code,
    errors.WrongType.code,
    errors.InvalidTopic.code,
    errors.MessageTooLarge.code,
    errors.GearhornError.code,
)
_NAMES = (errors.InvalidClientId.code, errors.NameTooLong.code)
CODES: Mapping[str, Sequence[str]] = {
    workers.FANOUT: (
        *_ANY,
        errors.InvalidUnique.code,
        errors.InvalidSeconds.code,
        errors.InvalidPriority.code,
        errors.InvalidEncoding.code,
        errors.InvalidPayload.code,
        errors.BackgroundConflict.code,
        errors.BatchConflict.code,
        errors.TooManyOpen.code,
        errors.InvalidId.code,
        errors.TooManyJournals.code,
    ),
    workers.REGISTER: (
        *_ANY,
        *_NAMES,
        errors.InvalidSeconds.code,
        errors.InvalidLimits.code,
        errors.ReservedTopic.code,
        errors.ReservedQueue.code,
        errors.QueueTaken.code,
        errors.NoJournal.code,
        errors.InvalidStart.code,
    ),
    workers.UNREGISTER: (*_ANY, *_NAMES),
    workers.QUERY: (*_ANY, errors.InvalidQuery.code, *STORE_CODES),
    workers.READ: (
        *_ANY,
        errors.NameTooLong.code,
        errors.NoJournal.code,
        errors.InvalidPosition.code,
    ),
    workers.NOTICE: (*_ANY, errors.InvalidQuery.code),
}
"""The codes with which a request of each role can end."""

_BACKGROUND_REASONS = (messages.NOT_QUEUED, messages.QUEUE_FULL)
"""The reasons for which copies in the background can fail."""


def families(survey: Survey) -> Iterator[Family]:
    """Yield all metrics of a daemon, as they are now."""
    yield from _fanouts(survey)
    yield from _in_hand(survey)
    yield from open_fanouts(survey)
    yield from _requests(survey)
    yield from job_servers(survey)
    yield from guard(survey)
    yield from journals(survey)
    yield from store(survey)
    yield from _lists(survey)
    yield from daemons(survey)
    yield from sampled(survey.sampler)


def numbers(survey: Survey) -> dict[str, float]:
    """Return the counters that are not 0, and the count and sum of histograms.

    They have the names that monitoring systems know, without ``gearhorn_``.
    """
    found: dict[str, float] = {}
    for family in families(survey):
        for values, value in family.samples.items():
            if isinstance(value, Histogram):
                if count := sum(value.counts):
                    labels = _labels(family, values)
                    found[f"{family.name}_count{labels}"] = count
                    found[f"{family.name}_sum{labels}"] = round(value.total, 6)
            elif value and family.kind == "counter":
                found[f"{family.name}{_labels(family, values)}"] = round(value, 6)
    return found


def _labels(family: Family, values: Sequence[str]) -> str:
    """Return labels as monitoring systems write them."""
    pairs = zip(family.labels, values, strict=True)
    text = ",".join(f'{label}="{value}"' for label, value in pairs)
    return f"{{{text}}}" if text else ""


def _fanouts(survey: Survey) -> Iterator[Family]:
    counts = survey.counts
    outcomes: dict[tuple[str, ...], Value] = {}
    reasons: dict[tuple[str, ...], Value] = {}
    sizes: dict[str, Value] = {}
    for mode, ended in zip(MODES, counts.fanouts, strict=True):
        outcomes[mode, "ok"] = ended.ended_ok
        outcomes[mode, "partial"] = ended.partial
        outcomes[mode, "failed"] = ended.failed
        outcomes[mode, "abandoned"] = ended.abandoned
        for reason in messages.REASONS:
            if mode == "foreground" or reason in _BACKGROUND_REASONS:
                reasons[mode, reason] = ended.reasons[reason]
        copies = sizes[mode] = Histogram(COPIES_BOUNDS)
        copies.counts = list(ended.sizes)
        copies.total = ended.copies
    yield Family(
        "fanouts_total",
        "counter",
        "Fan-outs that ended.",
        outcomes,
        ("mode", "outcome"),
    )
    tallies = survey.submitter.tallies
    yield Family(
        "copies_queued_total",
        "counter",
        "Copies that a job server has queued.",
        {
            (mode, str(server)): tallies[server].queued[index] if server in tallies else 0
            for index, mode in enumerate(MODES)
            for server in survey.settings.servers
        },
        ("mode", "server"),
    )
    yield Family(
        "copies_delivered_total",
        "counter",
        "Copies of foreground fan-outs that were answered.",
        one(counts.fanouts[True].arrived),
    )
    yield Family(
        "copies_failed_total",
        "counter",
        "Copies that failed.",
        reasons,
        ("mode", "reason"),
    )
    yield Family(
        "copies_skipped_total",
        "counter",
        "Copies left out that are found in a journal.",
        by({mode: ended.skipped for mode, ended in zip(MODES, counts.fanouts, strict=True)}),
        ("mode",),
    )
    yield Family(
        "copies_resubmitted_total",
        "counter",
        "Copies that the server had not queued when it was lost.",
        {
            (str(server),): tallies[server].resubmitted if server in tallies else 0
            for server in survey.settings.servers
        },
        ("server",),
    )
    yield Family(
        "payload_bytes_total",
        "counter",
        "Bytes of the payloads of fan-outs that were started.",
        one(counts.payload_bytes),
    )
    yield Family(
        "copied_bytes_total",
        "counter",
        "The same, once for each copy.",
        one(counts.copied_bytes),
    )
    yield Family("fanout_copies", "histogram", "The copies of a fan-out.", by(sizes), ("mode",))
    yield Family(
        "fanout_duration_seconds",
        "histogram",
        "The time from the job to its report.",
        {(mode,): ended.seconds for mode, ended in zip(MODES, counts.fanouts, strict=True)},
        ("mode",),
    )


def _in_hand(survey: Survey) -> Iterator[Family]:
    settings, worker, room = survey.settings, survey.workers.fanouts, survey.fanouts.room
    yield Family(
        "fanouts_in_flight", "gauge", "Fan-outs under way.", by(survey.in_flight()), ("mode",)
    )
    yield from plain(
        "gauge",
        ("fanouts_in_flight_limit", "[fanout] max_in_flight.", settings.max_in_flight),
        ("held_bytes", "Bytes of the fan-outs in hand.", worker.held_bytes),
        (
            "held_bytes_limit",
            "About the bytes at which no more are taken.",
            workers.WINDOW_MESSAGES * settings.max_message_bytes,
        ),
        ("gathered_bytes", "Bytes of results gathered.", room.max_bytes - room.free),
        ("gathered_bytes_limit", "The bytes that may be gathered.", room.max_bytes),
    )
    yield Family(
        "fanouts_waiting",
        "gauge",
        "Fan-outs that wait, by what for.",
        by(survey.fanouts.waiting()),
        ("for",),
    )
    yield Family(
        "oldest_fanout_seconds",
        "gauge",
        "The age of the oldest fan-out in hand.",
        one(survey.oldest_s()),
    )


def _requests(survey: Survey) -> Iterator[Family]:
    counts = survey.counts
    samples: dict[tuple[str, ...], Value] = {
        (role, code): 0 for role in workers.ROLES for code in CODES[role]
    }
    samples.update({(role, code): count for (role, code), count in counts.requests.items()})
    # Those that ended with a report, and duplicates, which are answered without being sent.
    samples[workers.FANOUT, messages.OK] = (
        sum(sum(ended.sizes) for ended in counts.fanouts)
        + counts.requests[workers.FANOUT, messages.OK]
    )
    yield Family(
        "requests_total",
        "counter",
        "Requests that were answered, by the role of the function.",
        samples,
        ("function", "code"),
    )
    yield Family(
        "registration_duration_seconds",
        "histogram",
        "The time from a registration or removal to its answer.",
        one(counts.registrations),
    )


def _lists(survey: Survey) -> Iterator[Family]:
    counts, lists = survey.counts, survey.lists
    yield from plain(
        "gauge",
        ("cached_topics", "Lists of subscribers that are kept.", lists.kept),
        (
            "cached_topics_limit",
            "[matchmaking] max_cached_topics.",
            survey.settings.max_cached_topics,
        ),
        ("cached_subscribers", "Subscribers in these lists.", lists.subscribers),
    )
    yield Family("list_hits_total", "counter", "Fan-outs whose list was at hand.", one(counts.hits))
    yield Family(
        "list_reads_total",
        "counter",
        "Lists that were read.",
        {(text,): counts.reads[kept] for text, kept in (("yes", True), ("no", False))},
        ("kept",),
    )
    yield Family(
        "lists_dropped_total",
        "counter",
        "Lists that were dropped.",
        {(cause,): counts.dropped[cause] for cause in metrics.DROPPED},
        ("cause",),
    )
