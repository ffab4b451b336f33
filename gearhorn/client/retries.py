# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a message whose handler raises: another try, a dead letter, or WORK_FAIL.

The job is held meanwhile, and with it the handler's place, so that gearmand gives the
message to another subscriber if this process dies. That is also what ends a wait early:
``stop``, and the loss of the job's connection, after which the message is another's.

Rejected: publishing the message anew for each try (it would lose its place, its
publisher and its unique), and a count of tries in the payload (other workers read it).
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from gearhorn import errors, messages
from gearhorn.client.dead_letters import DeadLetter, DeadLetters
from gearhorn.client.holding import Holding
from gearhorn.client.message import Message, job_of, log_failure
from gearhorn.client.parameters import check_seconds

LOG = logging.getLogger(__name__)

MAX_PAUSE_S = 300.0
_MAX_DOUBLINGS = 1000
"""More, and the power of two would be no float."""


@dataclass(frozen=True)
class RetryPolicy:
    """What to do when a handler raises, as :meth:`SubscriberBase.on` was told.

    :raises WrongType, InvalidSeconds, InvalidTopic, NameTooLong: a value is not valid.
    :raises ReservedTopic: the dead-letter topic is the daemons' own.
    :raises ConfigurationError: there are fewer than 0 retries.
    """

    retries: int = 0
    backoff: float = 1.0
    dead_letter: str | None = None

    def __post_init__(self) -> None:
        messages.check_type(self.retries, "retries", int)
        if self.retries < 0:
            raise errors.ConfigurationError("retries must be at least 0")
        check_seconds(self.backoff, "backoff")
        messages.check_type(self.dead_letter, "dead_letter", str, optional=True)
        if self.dead_letter is not None:
            messages.check_topic(self.dead_letter)
            if self.dead_letter == messages.MATCHMAKING_TOPIC:
                raise errors.ReservedTopic("dead letters cannot go to the daemons' own topic")

    @property
    def acts(self) -> bool:
        """True if a handler that raises has another consequence than WORK_FAIL."""
        return self.retries > 0 or self.dead_letter is not None

    def pause(self, tries: int) -> float | None:
        """Return the seconds to wait after so many tries; ``None`` after the last.

        A part of them is left to chance, so that subscribers which failed together, as
        a database went away, do not come back together.
        """
        if tries > self.retries:
            return None
        whole = min(MAX_PAUSE_S, self.backoff * 2.0 ** min(tries - 1, _MAX_DOUBLINGS))
        return random.uniform(whole / 2, whole)


NO_RETRIES = RetryPolicy()


@dataclass(frozen=True)
class Failure:
    """A failed message whose job is held: for another try, or for its dead letter."""

    message: Message
    pause: float | None
    letter: DeadLetter | None


def failed(
    message: Message, policy: RetryPolicy, tries: int, error: BaseException
) -> Failure | None:
    """Log what a handler raised at its latest try, and answer the message or hold it.

    :returns: ``None`` if the message is answered.
    """
    pause = policy.pause(tries)
    if message.answered or (pause is None and policy.dead_letter is None):
        log_failure(message, error)
        message.settle(None)
        return None
    if pause is not None:
        LOG.warning(
            "the handler of %r failed in try %d of %d: calling it again in %.1f seconds",
            message,
            tries,
            policy.retries + 1,
            pause,
            exc_info=error,
        )
        return Failure(message, pause, None)
    log_failure(message, error)
    assert policy.dead_letter is not None
    return Failure(message, None, DeadLetter(message, policy.dead_letter, tries, error))


class Retries:
    """The failed messages of a subscriber. Runs in the event loop.

    :param on_pause: called with the length of each pause, in seconds, as it begins.
    """

    def __init__(
        self,
        holding: Holding,
        dead_letters: DeadLetters,
        on_pause: Callable[[float], object],
    ) -> None:
        self._holding = holding
        self._dead_letters = dead_letters
        self._on_pause = on_pause

    async def again(self, failure: Failure) -> bool:
        """Wait for the next try and return true, or end the message and return false.

        A message is ended with WORK_FAIL once its dead letter is queued or refused. It
        is left unanswered, and goes to a subscriber again, if this one stops.
        """
        message = failure.message
        if failure.pause is not None:
            self._on_pause(failure.pause)
            go_on = await self._holding.pause(job_of(message), failure.pause)
            if go_on and not message.answered:
                return True
        else:
            assert failure.letter is not None
            go_on = await self._dead_letters.publish(failure.letter)
        if go_on:
            message.settle(None)
        else:
            LOG.info("%r is left to a subscriber again", message)
        return False
