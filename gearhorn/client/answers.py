# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answers of a daemon, read as reports or errors."""

import functools

import msgspec

from gearhorn import errors, messages
from gearhorn.wire.answer import Answer

_decode_report = msgspec.json.Decoder(messages.FanOutReport).decode
_decode_subscription = msgspec.json.Decoder(messages.Subscription).decode
_decode_refusal = msgspec.json.Decoder(messages.Refusal).decode

_NAMED = 5
"""The most failed receivers that the text of an error names; its report has more."""


def fan_out_report(answer: Answer) -> messages.FanOutReport:
    """Return the report of a fan-out that reached all receivers.

    :raises PartialFailure: the fan-out did not reach all.
    :raises GearhornError: the request was refused; the class says why.
    :raises BadAnswer: the answer is not a report.
    """
    try:
        report = _decode_report(answer.data)
    except msgspec.DecodeError:
        raise refusal(answer.data) from None
    if answer.completed:
        return report
    raise partial_failure(report)


def subscription(answer: Answer) -> messages.Subscription:
    """Return the answer to a registration or a removal.

    :raises GearhornError: the request was refused; the class says why.
    :raises BadAnswer: the answer cannot be read.
    """
    if answer.completed:
        try:
            return _decode_subscription(answer.data)
        except msgspec.DecodeError:
            pass
    raise refusal(answer.data)


def partial_failure(report: messages.FanOutReport) -> errors.PartialFailure:
    """Return the error for a report of which some copies failed."""
    count = report.failed_count or len(report.failed)
    named = [f"{client_id} ({reason})" for client_id, reason in report.failed.items()]
    text = ", ".join(named[:_NAMED]) + (", ..." if count > _NAMED else "")
    if report.skipped:
        text += f"; {report.skipped} more skipped"
    error = errors.PartialFailure(
        f"{count} of {report.subscribers} receivers of {report.topic!r} failed: {text}"
    )
    error.report = report
    return error


def refusal(data: bytes) -> errors.GearhornError:
    """Return the error for a daemon's refusal."""
    try:
        refused = _decode_refusal(data)
    except msgspec.DecodeError:
        return errors.BadAnswer(
            "the job ended without a report that can be read: is it a daemon that does it?"
        )
    kind = _classes().get(refused.error, errors.RequestError)
    error = kind(refused.message)
    # The code as given: a newer daemon may have codes that are unknown here.
    error.code = refused.error
    error.report = refused
    return error


@functools.cache
def _classes() -> dict[str, type[errors.GearhornError]]:
    found: dict[str, type[errors.GearhornError]] = {}
    waiting: list[type[errors.GearhornError]] = [errors.GearhornError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting.extend(kind.__subclasses__())
    return found
