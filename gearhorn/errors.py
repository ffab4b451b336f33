# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong, one class and one code for each."""

from typing import Any


class GearhornError(Exception):
    """The root of all errors that gearhorn raises."""

    code = "internal_error"
    report: Any = None
    """What a daemon answered, where the error is its answer: a
    :class:`~gearhorn.messages.FanOutReport` or a
    :class:`~gearhorn.messages.Refusal`."""


# A request that breaks the contract. The code and the text of these go back
# to whoever sent the request, so both say what to change.


class RequestError(GearhornError):
    """A request was refused."""

    code = "bad_request"


class InvalidJSON(RequestError):
    """The request is not a JSON text in UTF-8, or nests too deep to be read."""

    code = "invalid_json"


class NotAnObject(RequestError):
    """The request is JSON, but not an object."""

    code = "not_an_object"


class UnknownKey(RequestError):
    """The request has a key that this function does not know."""

    code = "unknown_key"


class MissingKey(RequestError):
    """The request lacks a key that this function needs."""

    code = "missing_key"


class WrongType(RequestError):
    """The value of a key is of another JSON type than the key takes."""

    code = "wrong_type"


class InvalidTopic(RequestError):
    """The topic is empty, holds a control character or is no Unicode text."""

    code = "invalid_topic"


class InvalidClientId(RequestError):
    """The client_id is empty, holds a control character or is no Unicode text."""

    code = "invalid_client_id"


class NameTooLong(RequestError):
    """The queue name that topic and client_id make is over the limit."""

    code = "name_too_long"


class InvalidUnique(RequestError):
    """The unique is empty, too long, "-", or holds a control character."""

    code = "invalid_unique"


class InvalidSeconds(RequestError):
    """A number of seconds is not above zero, or is beyond the limit."""

    code = "invalid_seconds"


class InvalidPriority(RequestError):
    """The priority is none of high, normal and low."""

    code = "invalid_priority"


class InvalidEncoding(RequestError):
    """The encoding is not base64."""

    code = "invalid_encoding"


class InvalidPayload(RequestError):
    """The payload cannot be decoded as the encoding says."""

    code = "invalid_payload"


class BackgroundConflict(RequestError):
    """A background fan-out asks for what only a foreground one can give."""

    code = "background_conflict"


class MessageTooLarge(RequestError):
    """The request has more bytes than the daemon takes."""

    code = "message_too_large"


class ReservedTopic(RequestError):
    """The topic is the daemons' own; nobody else can subscribe to it."""

    code = "reserved_topic"


class ReservedQueue(RequestError):
    """The queue would be one of the daemons' own functions."""

    code = "reserved_queue"


class QueueTaken(RequestError):
    """Another topic and client_id make the same queue name and hold it."""

    code = "queue_taken"


class InvalidQuery(RequestError):
    """The query names nothing that can be asked for, or lacks what it needs."""

    code = "invalid_query"


# The store.


class StoreError(GearhornError):
    """The store did not do what it was asked; nothing is known to be stored."""

    code = "store_error"


class StoreAway(StoreError):
    """The store cannot be reached or did not answer in time."""

    code = "store_away"


class StoreFull(StoreError):
    """The store answers but takes no writes: read-only, out of memory or disk."""

    code = "store_full"


class StoreMisconfigured(StoreError):
    """The store refuses: wrong password, wrong type of key, wrong URL."""

    code = "store_misconfigured"


class StoreReplaced(StoreError):
    """The store was emptied or is another one than the daemon started with."""

    code = "store_replaced"


# Gearman.


class WireError(GearhornError):
    """Something is wrong between gearhorn and a job server."""

    code = "wire_error"


class FramingError(WireError):
    """The bytes that a job server sent are no Gearman packets."""

    code = "framing_error"


class ServerLost(WireError):
    """The connection to a job server is gone."""

    code = "server_lost"


class UnsupportedServer(WireError):
    """A job server lacks a part of the protocol that gearhorn needs."""

    code = "unsupported_server"


class InvalidServer(WireError):
    """A job server's address is not host:port."""

    code = "invalid_server"


# The daemon.


class ConfigurationError(GearhornError):
    """An option has a value that the daemon cannot run with."""

    code = "configuration_error"


# The client library.


class ClientError(GearhornError):
    """A request did not make its way to a daemon and back."""

    code = "client_error"


class PartialFailure(ClientError):
    """A fan-out ended, and some of its receivers did not get or answer their copy.

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
    """Every job server that is connected refused the request: a full queue, for one."""

    code = "not_queued"


class BadAnswer(ClientError):
    """The answer to a request is none that a daemon gives."""

    code = "bad_answer"


class Closed(ClientError):
    """The publisher or subscriber was closed before."""

    code = "closed"


class WrongThread(ClientError):
    """A call that waits was made in the thread that would have to do what it waits for."""

    code = "wrong_thread"


class WrongLoop(ClientError):
    """An object of one event loop was used in another one while the first still runs."""

    code = "wrong_loop"


class InvalidResult(ClientError):
    """What a handler returned cannot be sent as the result of its message."""

    code = "invalid_result"


class AlreadyAnswered(ClientError):
    """A message was answered a second time."""

    code = "already_answered"
