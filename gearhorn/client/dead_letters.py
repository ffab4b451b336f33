# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Dead letters: messages that their subscriber has given up, published for somebody to see.

A dead letter is queued before its job is answered, so that one or the other is there
whatever dies. Both can be there: then the letter is published once more, with the same
unique. What can pass, as a daemon or a store that is away, is waited for with the job
held. What is refused is sent once more without the payload, which may be the reason.
"""

import asyncio
import base64
import logging
import random
import time
from hashlib import blake2b
from typing import Any, TypeAlias

from gearhorn import errors, messages
from gearhorn.client.answers import fan_out_report
from gearhorn.client.caller import Caller
from gearhorn.client.holding import Holding, end
from gearhorn.client.message import Message, job_of
from gearhorn.client.publications import without_id
from gearhorn.wire.answer import Answer
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)

MAX_ERROR_CHARACTERS = 1000
ANSWER_TIMEOUT_S = 300.0
"""Seconds until a letter is sent again that no daemon has answered. Long, since each
attempt stays queued and is done when a daemon comes."""
RETRY_S = 1.0
"""Seconds until a letter is sent again that could not be, at first; the pause doubles."""
MAX_RETRY_S = 30.0
_UNIQUE_BYTES = 18
_MAY_PASS = (errors.NoServer, errors.NoAnswer, errors.NotQueued, errors.StoreError)

Outcome: TypeAlias = messages.FanOutReport | errors.GearhornError


class _GivenUp(Exception):
    """The job is not held any more, or the subscriber stops: the letter is another's."""


class DeadLetter:
    """A message that was given up, and the requests that publish it.

    :param to: the dead-letter topic.
    :param tries: how many times the handler was called.
    :param error: what it raised in the end.
    """

    def __init__(self, message: Message, to: str, tries: int, error: BaseException) -> None:
        self.message = message
        self.to = to
        self._head: dict[str, Any] = {
            "topic": message.topic,
            "client_id": message.client_id,
            "attempts": tries,
            "error": described(error),
            "time": round(time.time(), 3),
        }
        if message.journal is not None:
            self._head |= {"journal": message.journal, "sequence": message.sequence}
        self.request = self._request(_payload_keys(message.payload))

    def short_request(self) -> messages.FanOut:
        """Return the request that publishes the letter without the payload."""
        return self._request({"payload_omitted": len(self.message.payload)})

    def _request(self, payload: dict[str, Any]) -> messages.FanOut:
        name = _name(job_of(self.message))
        return messages.FanOut.of(self.to, {**self._head, **payload}, id=name, background=True)


def described(error: BaseException) -> str:
    """Return the class and the text of an error, as a letter has them."""
    try:
        text = str(error)
    except Exception:
        text = "its text cannot be read"
    # The names of files may hold surrogates, which are no Unicode.
    sound = f"{type(error).__name__}: {text}".encode("utf-8", "backslashreplace").decode()
    return sound[:MAX_ERROR_CHARACTERS]


def _payload_keys(payload: bytes) -> dict[str, str]:
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload": base64.b64encode(payload).decode(), "encoding": "base64"}


def _name(job: Job) -> str:
    """Return the id of a letter: the same when the job is given up a second time.

    The payload counts too, since publishers may give one unique to many messages, and
    a letter that is coalesced with another one is lost. A job without a unique, which
    the daemon's copies need not have, is told from others by its handle.
    """
    digest = blake2b(digest_size=_UNIQUE_BYTES)
    name = job.unique or b"%s %s" % (str(job.connection.server).encode(), job.handle)
    for part in (job.function, name, job.data):
        digest.update(b"%d:%s" % (len(part), part))
    return f"dead-{digest.hexdigest()}"


class DeadLetters:
    """The dead letters of a subscriber on their way. Runs in the event loop.

    :param caller: sends the requests. It is connected by whoever wants dead letters.
    :param function: the name of the daemons' function that fans out.
    """

    def __init__(self, caller: Caller, function: str, holding: Holding) -> None:
        self._caller = caller
        self._function = function
        self._holding = holding

    async def publish(self, letter: DeadLetter) -> bool:
        """Publish a letter, or log why that is impossible, and return true.

        :returns: false if its job is another's by now, or the subscriber stops before
            the letter is published.
        """
        try:
            refusal = await self._send(letter, letter.request)
            if refusal is None:
                LOG.info("the dead letter of %r went to %r", letter.message, letter.to)
                return True
            second = await self._send(letter, letter.short_request())
        except _GivenUp:
            return False
        if second is None:
            LOG.warning(
                "the dead letter of %r went to %r without its payload: %s",
                letter.message,
                letter.to,
                refusal,
            )
        else:
            LOG.error(
                "there is no dead letter of %r: %r takes neither it (%s) nor one without its "
                "payload (%s)",
                letter.message,
                letter.to,
                refusal,
                second,
            )
        return True

    async def _send(self, letter: DeadLetter, request: messages.FanOut) -> str | None:
        """Send a request until it is answered, and return why it was refused, if it was."""
        outcome = await self._send_until_answered(letter, request.encode())
        if isinstance(outcome, errors.UnknownKey):
            outcome = await self._send_until_answered(letter, without_id(request).encode())
        return _refusal(outcome)

    async def _send_until_answered(self, letter: DeadLetter, request: bytes) -> Outcome:
        pause = RETRY_S
        waits = False
        while isinstance(outcome := await self._outcome(letter, request), _MAY_PASS):
            if not waits:
                waits = True
                LOG.warning(
                    "the dead letter of %r waits, and its handler's place with it: %s",
                    letter.message,
                    outcome,
                )
            seconds = random.uniform(pause / 2, pause)
            if not await self._holding.pause(job_of(letter.message), seconds):
                raise _GivenUp
            pause = min(pause * 2, MAX_RETRY_S)
        return outcome

    async def _outcome(self, letter: DeadLetter, request: bytes) -> Outcome:
        """Send a request once."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answers: list[Answer | errors.GearhornError] = []

        def on_done(answer: Answer | errors.GearhornError) -> None:
            answers.append(answer)
            end(answered)

        call = self._caller.start(self._function, request, letter.to, ANSWER_TIMEOUT_S, on_done)
        try:
            held = await self._holding.keep(job_of(letter.message), answered)
        finally:
            call.cancel()
        if not held:
            raise _GivenUp
        (answer,) = answers
        if isinstance(answer, errors.GearhornError):
            if type(answer) in (errors.Closed, errors.ClientError):
                # The subscriber has ended, or failed, which is logged.
                raise _GivenUp
            return answer
        try:
            return fan_out_report(answer)
        except errors.GearhornError as error:
            return error


def _refusal(outcome: Outcome) -> str | None:
    """Return why no copy of a letter was queued; ``None`` if one was."""
    report = outcome.report if isinstance(outcome, errors.PartialFailure) else outcome
    if not isinstance(report, messages.FanOutReport):
        assert isinstance(outcome, errors.GearhornError)
        return f"{outcome.code}: {outcome}"
    if report.queued or isinstance(report.sequence, int):
        return None
    return "nobody subscribes to it" if report is outcome else str(outcome)
