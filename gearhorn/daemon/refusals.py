# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests that jobs bring: decoding and refusing them."""

import logging
from collections.abc import Callable
from typing import TypeVar

from gearhorn import errors, messages
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)

T = TypeVar("T")


def decoded(job: Job, decode: Callable[[bytes], T]) -> T | None:
    """Return what ``decode`` makes of the job's data, or refuse the job.

    :returns: ``None`` if the job was refused.
    """
    try:
        if job.oversize:
            raise errors.MessageTooLarge("the request is larger than this daemon takes")
        return decode(job.data)
    except errors.RequestError as error:
        refuse(job, error)
        return None


def refuse(job: Job, error: errors.GearhornError) -> None:
    """Answer ``job`` with a refusal.

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


def fail_unexpectedly(job: Job, error: Exception) -> None:
    """Log an unexpected error, and answer ``job`` with a refusal."""
    LOG.error(
        "unexpected error in a job of %s",
        job.function.decode("utf-8", "replace"),
        exc_info=error,
    )
    refuse(job, errors.GearhornError("unexpected error; the daemon's log has more"))


def guarded(take: Callable[[Job], None]) -> Callable[[Job], None]:
    """Wrap ``take``: an exception is logged and answered, and stops nothing."""

    def take_guarded(job: Job) -> None:
        try:
            take(job)
        except Exception as error:
            fail_unexpectedly(job, error)

    return take_guarded
