# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The errors: one class and one code for everything that can go wrong.

Programs go by the class or by its ``code``; the text of an error is for people.
Daemons answer with the codes of refusals and of faults of the store.
"""

from typing import Any


class GearhornError(Exception):
    """The root of all errors that gearhorn raises."""

    code = "internal_error"
    report: Any = None
    """The answer of the daemon, if the error comes from one: a
    :class:`~gearhorn.messages.FanOutReport` or a
    :class:`~gearhorn.messages.Refusal`."""


# Requests that break the contract. Code and text go back to whoever sent the
# request, so the text says what to change.


class RequestError(GearhornError):
    """A request was refused. The subclass says why."""

    code = "bad_request"


class InvalidJSON(RequestError):
    """The request is not JSON in UTF-8, or is nested too deeply."""

    code = "invalid_json"


class NotAnObject(RequestError):
    """The request is JSON, but not an object."""

    code = "not_an_object"


class UnknownKey(RequestError):
    """The request has a key that the function does not know."""

    code = "unknown_key"


class MissingKey(RequestError):
    """The request lacks a key that the function needs."""

    code = "missing_key"


class WrongType(RequestError):
    """The value of a key has the wrong JSON type."""

    code = "wrong_type"


class InvalidTopic(RequestError):
    """The topic is empty, holds a control character or is not Unicode text."""

    code = "invalid_topic"


class InvalidClientId(RequestError):
    """The client_id is empty, holds a control character or is not Unicode text."""

    code = "invalid_client_id"


class NameTooLong(RequestError):
    """The queue name, topic and client_id joined by ``_``, has over 512 bytes."""

    code = "name_too_long"


class InvalidUnique(RequestError):
    """The unique is empty, ``-``, over 48 bytes, or holds a control character."""

    code = "invalid_unique"


class InvalidSeconds(RequestError):
    """A number of seconds is not above zero, or is over the limit."""

    code = "invalid_seconds"


class InvalidLimits(RequestError):
    """A limit of a registration is out of its range."""

    code = "invalid_limits"


class InvalidPriority(RequestError):
    """The priority is not high, normal or low."""

    code = "invalid_priority"


class InvalidEncoding(RequestError):
    """The encoding is not base64."""

    code = "invalid_encoding"


class InvalidPayload(RequestError):
    """The payload is not valid base64, or cannot be sent as bytes, text or JSON."""

    code = "invalid_payload"


class BackgroundConflict(RequestError):
    """A background fan-out has a timeout or gathers results."""

    code = "background_conflict"


class BatchConflict(RequestError):
    """``payloads`` is not alone, not in the background, or has a unique."""

    code = "batch_conflict"


class MessageTooLarge(RequestError):
    """The request has more bytes than the daemon takes."""

    code = "message_too_large"


class ReservedTopic(RequestError):
    """The topic is the daemons' own; nobody else can subscribe to it."""

    code = "reserved_topic"


class ReservedQueue(RequestError):
    """The queue name is that of one of the daemons' own functions."""

    code = "reserved_queue"


class QueueTaken(RequestError):
    """Another topic and client_id make the same queue name, and hold it."""

    code = "queue_taken"


class TooManyOpen(RequestError):
    """More foreground fan-outs would wait for their receivers than the daemon takes."""

    code = "too_many_open"


class InvalidQuery(RequestError):
    """The query is unknown, or its keys do not fit it."""

    code = "invalid_query"


# The store.


class StoreError(GearhornError):
    """The store failed. Nothing is known to be stored."""

    code = "store_error"


class StoreAway(StoreError):
    """The store cannot be reached or did not answer in time."""

    code = "store_away"


class StoreFull(StoreError):
    """The store answers but takes no writes: it is read-only, or out of memory or disk."""

    code = "store_full"


class StoreMisconfigured(StoreError):
    """The store cannot be used as configured: wrong password, URL or type of key."""

    code = "store_misconfigured"


class StoreReplaced(StoreError):
    """The store was emptied, or is not the one the daemon started with."""

    code = "store_replaced"


class StoreIncomplete(StoreError):
    """A part of the store is gone, as where Redis evicts keys, and cannot be rebuilt."""

    code = "store_incomplete"


# Gearman.


class WireError(GearhornError):
    """Something is wrong between gearhorn and a job server."""

    code = "wire_error"


class FramingError(WireError):
    """A job server sent bytes that are not a Gearman packet."""

    code = "framing_error"


class ServerLost(WireError):
    """The connection to a job server is gone."""

    code = "server_lost"


class UnsupportedServer(WireError):
    """The job server lacks a part of the protocol that gearhorn needs."""

    code = "unsupported_server"


class InvalidServer(WireError):
    """The address of a job server is not host:port, or none is given."""

    code = "invalid_server"


# The daemon.


class ConfigurationError(GearhornError):
    """An option has a value that the daemon cannot run with."""

    code = "configuration_error"


# The client library.


class ClientError(GearhornError):
    """The client library could not do what it was asked."""

    code = "client_error"


class PartialFailure(ClientError):
    """Some receivers of a fan-out did not get or did not answer their copy.

    ``report`` names them.
    """

    code = "partial_failure"


class NoServer(ClientError):
    """No job server could be reached."""

    code = "no_server"


class NoAnswer(ClientError):
    """No daemon answered in time; the request may still be done."""

    code = "no_answer"


class NotQueued(ClientError):
    """Every connected job server refused the request, as with a full queue."""

    code = "not_queued"


class BadAnswer(ClientError):
    """The answer to a request is not one that a daemon gives."""

    code = "bad_answer"


class Closed(ClientError):
    """The publisher or subscriber has been closed, or serves in the parent process."""

    code = "closed"


class WrongThread(ClientError):
    """A call that waits was made in the very thread that does the work.

    Make it in another thread, or with an object of its own.
    """

    code = "wrong_thread"


class WrongLoop(ClientError):
    """A publisher was used in a second event loop while its first still runs.

    Make one for each loop.
    """

    code = "wrong_loop"


class InvalidResult(ClientError):
    """A handler returned a value that cannot be sent as a result."""

    code = "invalid_result"


class AlreadyAnswered(ClientError):
    """A message was answered a second time."""

    code = "already_answered"
