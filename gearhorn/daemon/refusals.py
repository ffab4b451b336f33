# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests that jobs bring: decoding and refusing them.

A client that submits its job in the background never sees the answer. So each
refusal is logged too, and each fan-out of which no copy arrived, within limits.
Nothing is logged while an exception is handled: oslo.log would add its text, which the
line has already.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from gearhorn import errors, messages
from gearhorn.daemon.limited_log import LimitedLog
from gearhorn.wire.admin import TRIAL
from gearhorn.wire.grabber import Job

T = TypeVar("T")


class Refusals:
    """The refusals of a daemon, answered and logged."""

    def __init__(self) -> None:
        self._log = LimitedLog()

    def decoded(self, job: Job, decode: Callable[[bytes], T]) -> T | None:
        """Return what ``decode`` makes of the job's data, or refuse the job.

        :returns: ``None`` if the job was refused.
        """
        try:
            if job.oversize:
                raise errors.MessageTooLarge("the request is larger than this daemon takes")
            return decode(job.data)
        except errors.RequestError as error:
            # Without the traceback, whose frame would hold the error: garbage for each refusal.
            fault = error.with_traceback(None)
        self.refuse(job, fault)
        return None

    def answer(self, job: Job, fault: Exception, expected: type[errors.GearhornError]) -> None:
        """Answer ``job`` with a fault: a refusal if it is of the ``expected`` kind."""
        if isinstance(fault, expected):
            self.refuse(job, fault)
        else:
            self.fail_unexpectedly(job, fault)

    def refuse(self, job: Job, error: errors.GearhornError) -> None:
        """Answer ``job`` with a refusal, and log it."""

        def line() -> str:
            topic = None if job.oversize else messages.topic_in(job.data)
            of_topic = "" if topic is None else f" for topic {topic!r}"
            return f"refused a job of {_function(job)}{of_topic}: {error}"

        if job.data or not job.unique.startswith(TRIAL):
            self._log.log(logging.WARNING, error.code, line)
        _answer(job, error)

    def fail_unexpectedly(self, job: Job, error: Exception) -> None:
        """Answer ``job`` with a refusal, and log an unexpected error."""
        answer = errors.GearhornError("unexpected error; the daemon's log has more")
        self._log.log(
            logging.ERROR,
            answer.code,
            lambda: f"unexpected error in a job of {_function(job)}",
            error,
        )
        _answer(job, answer)

    def guarded(self, take: Callable[[Job], None]) -> Callable[[Job], None]:
        """Wrap ``take``: an exception is logged and answered, and stops nothing."""

        def take_guarded(job: Job) -> None:
            try:
                take(job)
            except Exception as error:
                self.fail_unexpectedly(job, error)

        return take_guarded

    def all_failed(self, topic: str, copies: int, reason: str) -> None:
        """Log a fan-out of which no copy arrived.

        :param reason: the reason for which the first copy failed.
        """
        self._log.log(
            logging.WARNING,
            reason,
            lambda: f"all {copies} copies for topic {topic!r} failed, the first for this reason",
        )

    def publisher_left(self, topic: str) -> None:
        """Log a fan-out that ends because its publisher has left."""
        self._log.log(
            logging.INFO,
            "publisher_left",
            lambda: f"ended a fan-out for topic {topic!r}, whose report nobody waits for",
        )

    def answer_left(self, job: Job) -> None:
        """Answer ``job``, whose publisher has left before a copy was sent."""
        _answer(job, errors.TooManyOpen("the publisher was not there when its turn came"))

    def close(self) -> None:
        """Log the counts of what was not logged."""
        self._log.close()


def _answer(job: Job, error: errors.GearhornError) -> None:
    """Answer with a refusal.

    It goes in WORK_COMPLETE if the request asks for ``always_report``, else in
    WORK_WARNING, followed by WORK_FAIL. WORK_EXCEPTION is not used: for clients
    without the option ``exceptions`` gearmand turns it into a WORK_FAIL with a NUL
    behind its handle, and libgearman then waits for ever.
    """
    refusal = messages.Refusal.of(error).encode()
    if not job.oversize and messages.wants_report(job.data):
        job.complete(refusal)
    else:
        job.fail(refusal)


def _function(job: Job) -> str:
    return job.function.decode("utf-8", "replace")
