# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""How a request is refused."""

import logging
from collections.abc import Callable

from gearhorn import errors, messages
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)


def refuse(job: Job, error: errors.GearhornError) -> None:
    """Answer ``job`` with a refusal, in the packets that it asks for.

    WORK_WARNING and WORK_FAIL, and not WORK_EXCEPTION: gearmand turns that,
    for clients without the option ``exceptions``, into a WORK_FAIL with a NUL
    behind its handle, and libgearman then waits for ever.
    """
    refusal = messages.Refusal.of(error).encode()
    if not job.oversize and messages.wants_report(job.data):
        job.complete(refusal)
    else:
        job.fail(refusal)


def fail_unexpectedly(job: Job, error: Exception) -> None:
    """Answer ``job`` after an error that should not be, and log it."""
    LOG.error(
        "unexpected error in a job of %s",
        job.function.decode("utf-8", "replace"),
        exc_info=error,
    )
    refuse(job, errors.GearhornError("unexpected error; the daemon's log has more"))


def guarded(take: Callable[[Job], None]) -> Callable[[Job], None]:
    """``take``, so that no job stops the loop."""

    def take_guarded(job: Job) -> None:
        try:
            take(job)
        except Exception as error:
            fail_unexpectedly(job, error)

    return take_guarded
