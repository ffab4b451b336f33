# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests that jobs bring: decoding and refusing them.

A client that submits its job in the background never sees the answer. So each
refusal is logged too, and each fan-out of which no copy arrived, within limits.
Nothing is logged while an exception is handled: oslo.log would add its text, which the
line has already.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from gearhorn import errors, messages
from gearhorn.daemon.limited_log import LimitedLog
from gearhorn.daemon.metrics import Counts
from gearhorn.wire.admin import TRIAL
from gearhorn.wire.grabber import Job

T = TypeVar("T")


class Refusals:
    """The refusals of a daemon, answered, counted and logged.

    :param roles: the role of each function, for the counts.
    """

    def __init__(
        self, counts: Counts | None = None, roles: Mapping[bytes, str] | None = None
    ) -> None:
        self._counts = Counts() if counts is None else counts
        self._roles = roles or {}
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

    async def report(
        self,
        job: Job,
        work: Awaitable[messages.Report],
        expected: type[errors.GearhornError] | tuple[type[errors.GearhornError], ...],
    ) -> bool:
        """Answer ``job`` with the report of ``work``, and return true if there is one.

        :param expected: the errors of ``work`` that are refusals.
        """
        try:
            report = await work
        except Exception as error:
            fault = error
        else:
            self.done(job, report.encode())
            return True
        if isinstance(fault, expected):
            self.refuse(job, fault)
        else:
            self.fail_unexpectedly(job, fault)
        return False

    def refuse(self, job: Job, error: errors.GearhornError) -> None:
        """Answer ``job`` with a refusal, and log and count it, unless it is a trial."""

        def line() -> str:
            topic = None if job.oversize else messages.topic_in(job.data)
            of_topic = "" if topic is None else f" for topic {topic!r}"
            return f"refused a job of {_function(job)}{of_topic}: {error}"

        if job.data or not job.unique.startswith(TRIAL):
            self._log.log(logging.WARNING, error.code, line)
            self._count(job, error.code)
        _answer(job, error)

    def done(self, job: Job, answer: bytes) -> None:
        """Answer ``job`` with the report of what was done."""
        self._count(job, messages.OK)
        job.complete(answer)

    def _count(self, job: Job, code: str) -> None:
        self._counts.requests[self._roles.get(job.function, ""), code] += 1

    def fail_unexpectedly(self, job: Job, error: Exception) -> None:
        """Answer ``job`` with a refusal, and log an unexpected error."""
        answer = errors.GearhornError("unexpected error; the daemon's log has more")
        self._log.log(
            logging.ERROR,
            answer.code,
            lambda: f"unexpected error in a job of {_function(job)}",
            error,
        )
        self._count(job, answer.code)
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
            lambda: (
                f"every copy for topic {topic!r} failed, {copies} in all, the first for this reason"
            ),
        )

    def publisher_left(self, topic: str) -> None:
        """Log and count a fan-out that ends because its publisher has left."""
        self._counts.publishers_left += 1
        self._log.log(
            logging.INFO,
            "publisher_left",
            lambda: f"ended a fan-out for topic {topic!r}, whose report nobody waits for",
        )

    def answer_left(self, job: Job) -> None:
        """Answer ``job``, whose publisher has left before a copy was sent."""
        error = errors.TooManyOpen("the publisher was not there when its turn came")
        self._count(job, error.code)
        _answer(job, error)

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
