# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The base of subscribers for threads and for asyncio: options, topics, handlers."""

import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gearhorn import errors, messages
from gearhorn.client import forks
from gearhorn.client.binding import Binding, Handler
from gearhorn.client.journal.file_position import Position
from gearhorn.client.parameters import (
    CHECK_INTERVAL_S,
    PositionOptions,
    StartAt,
    SubscribeOptions,
    limits_of,
    servers_of,
)
from gearhorn.client.reception import Reception
from gearhorn.client.retries import NO_RETRIES, RetryPolicy
from gearhorn.client.subscriptions import RENEW_S
from gearhorn.messages import FunctionNames
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.grabber import Job

_DAEMONS = messages.queue_name(messages.MATCHMAKING_TOPIC, "")
"""The beginning of the daemons' own queues, in which they take notices."""

H = TypeVar("H", bound=Handler)


class SubscriberBase:
    """The base of :class:`Subscriber` and :class:`AsyncSubscriber`.

    :param servers: the addresses of the job servers, ``host:port`` each, as a list or
        as one string with commas. The subscriber connects to all of them, as its
        messages may be on any.
    :param client_id: the client_id of topics for which :meth:`on` is given none.
    :param ttl: the time, in seconds, after which registrations end unless they are
        renewed. The subscriber renews them. Without it they last for ever.
    :param max_waiting: the most messages that each of its queues may hold, 100 or more.
        Where the daemons are configured to allow fewer, that counts.
    :param overflow: what becomes of a message for a queue that is full: ``"refuse"``,
        and its publisher is told of a failure, or ``"skip"``, and it is not, if the
        topic has a journal. Unless given, the daemons' configuration says.
    :param remove_idle: the time, in seconds, after which its registrations end while
        messages wait and no worker serves the queue; 0 for never. Unless given, the
        daemons' configuration says.
    :param renew: the longest time, in seconds, until the subscriber makes its
        registrations again, as the store may have lost them. With ``ttl`` it does so
        after a third of that, if that is sooner.
    :param register: register the topics given to :meth:`on`, and receive each once it
        is registered.
    :param unregister: remove these registrations when the subscriber stops.
    :param concurrency: the number of messages that are handled at the same time. With
        more than one their order is not kept.
    :param drain_timeout: the time, in seconds, to finish the messages in hand when the
        subscriber stops. Messages that are not answered by then go to a subscriber
        again.
    :param connect_timeout: the longest time for one attempt to connect, in seconds.
    :param tls: the TLS settings for all servers; see :func:`gearhorn.tls_context`.
    :param max_message_bytes: the largest message that is taken; a larger one fails.
    :param position: where it keeps how far it has come in the journals of its topics: a
        :class:`gearhorn.FilePosition`, or an object of one's own with its methods ``read``
        and ``write``. Handlers then see each message in order and once, and none is missing
        that the journal still has. It needs handlers and a ``concurrency`` of 1.
    :param on_missed: called with a ``Missed`` when messages are gone before they could be
        seen, which is a WARNING in the log unless this is given. Its fields are ``topic``,
        ``client_id``, ``journal``, ``first``, ``last`` and ``why``: ``"trimmed"``, by the
        limits of the journal, or ``"gap"``, as the store may have lost them.
    :param check_interval: the time, in seconds, after which it asks whether the last
        message of a quiet topic was left out, with a position.
    :param register_function: the name of the daemons' function that registers.
    :param unregister_function: the name of the daemons' function that unregisters.
    :param fanout_function: the name of the daemons' function that fans out, which
        publishes dead letters.
    :param read_function: the name of the daemons' function that reads a journal, for a
        position.
    :param query_function: the name of the daemons' function that answers questions, for a
        position.
    :raises InvalidServer: an address is not valid, or there is none.
    :raises InvalidClientId: the client_id is not valid.
    :raises NameTooLong: the client_id is too long.
    :raises WrongType: another value has the wrong type.
    :raises InvalidSeconds: a time is out of range.
    :raises InvalidLimits: max_waiting, overflow or remove_idle is out of range.
    :raises ConfigurationError: another value is not valid.
    """

    def __init__(
        self,
        servers: str | Iterable[str],
        client_id: str | None = None,
        *,
        ttl: float | None = None,
        max_waiting: int | None = None,
        overflow: messages.Overflow | None = None,
        remove_idle: float | None = None,
        renew: float = RENEW_S,
        register: bool = True,
        unregister: bool = False,
        concurrency: int = 1,
        drain_timeout: float = messages.DRAIN_TIMEOUT_S,
        connect_timeout: float = ConnectionSettings.connect_timeout,
        tls: ssl.SSLContext | None = None,
        max_message_bytes: int = messages.MAX_MESSAGE_BYTES,
        position: Position | None = None,
        on_missed: Callable[[Any], object] | None = None,
        check_interval: float = CHECK_INTERVAL_S,
        register_function: str = FunctionNames.register,
        unregister_function: str = FunctionNames.unregister,
        fanout_function: str = FunctionNames.fanout,
        read_function: str = FunctionNames.read,
        query_function: str = FunctionNames.query,
    ) -> None:
        if client_id is not None:
            Binding("t", client_id)
        self._client_id = client_id
        self._options = SubscribeOptions(
            servers=servers_of(servers),
            wire=ConnectionSettings(tls=tls, connect_timeout=connect_timeout),
            ttl=ttl,
            limits=limits_of(max_waiting, overflow, remove_idle),
            renew=renew,
            register=register,
            unregister=unregister,
            concurrency=concurrency,
            drain_timeout=drain_timeout,
            max_message_bytes=max_message_bytes,
            register_function=register_function,
            unregister_function=unregister_function,
            fanout_function=fanout_function,
            position=None
            if position is None
            else PositionOptions(
                position, on_missed, check_interval, read_function, query_function
            ),
        )
        self._bindings: dict[bytes, Binding] = {}
        self._reception: Reception | None = None
        self._changing = threading.Lock()
        """Held while one thread starts it or changes what it receives."""
        self._has_handlers = False
        """True once it serves by handlers, and not by iteration."""
        self._is_foreign = False
        """True in a process that was forked from the one that received."""
        self._set_up()
        forks.tell(self)

    def _forked(self) -> None:
        """Leave everything to the parent, which goes on alone."""
        self._changing = threading.Lock()
        self._is_foreign = self._reception is not None

    def _set_up(self) -> None:
        """Make the parts that this kind of subscriber needs."""
        raise NotImplementedError

    def _new_reception(self, take: Callable[[list[Job]], None], *, threaded: bool) -> Reception:
        self._check_process()
        with self._changing:
            if self._reception is not None:
                raise errors.Closed("a subscriber serves once: make another")
            self._reception = Reception(self._options, self._bindings, take, threaded=threaded)
            bindings = tuple(self._bindings.values())
            self._reception.start(
                binding for binding in bindings if binding.handler or not self._has_handlers
            )
        return self._reception

    def on(
        self,
        topic: str,
        *,
        client_id: str | None = None,
        retries: int = 0,
        backoff: float = 1.0,
        dead_letter: str | None = None,
        start: StartAt | None = None,
    ) -> Callable[[H], H]:
        """Receive a topic from now on, and return a decorator for its handler.

        While :meth:`run` serves, the topic is received from the moment at which it has
        its handler.

        The value that the handler returns is the result of the message: ``None``,
        bytes, a string, or anything that can be written as JSON. If the handler raises,
        it is called again up to ``retries`` times, with the same message. Then the
        message has failed. To get messages by iteration, do not use the decorator.

        :param client_id: the client_id that receives the topic; the subscriber's own
            unless given.
        :param retries: how often the handler is called again. Meanwhile the message
            keeps its place among the ``concurrency`` ones that are handled.
        :param backoff: the pause before the first of these calls, in seconds. It
            doubles with each, to five minutes at most, and chance takes up to a half of
            it off.
        :param dead_letter: the topic to which a message that has failed is published,
            as a JSON object with the error.
        :param start: where in the topic's journal to begin: ``"new"``, as without it,
            ``"first"``, ``"last"`` (with the newest message) or
            ``{"after": sequence, "journal": id}``. Messages from before are put into the
            queue, once for each subscriber object. With a position it says where to begin
            if nothing is written.
        :raises ConfigurationError: ``retries`` is below 0, the topic is its own
            dead-letter topic, or the subscriber is iterated over.
        :raises RequestError: topic or client_id is not valid, or the queue belongs to
            another topic of this subscriber or to the daemons.
        :raises Closed: it serves in the process that this one was forked from.
        """
        self._check_process()
        policy = RetryPolicy(retries, backoff, dead_letter)
        binding = self._binding(topic, client_id, policy, start)
        if not self._options.register and binding.queue.startswith(_DAEMONS):
            # When asked to register this queue, a daemon would refuse it.
            raise errors.ReservedQueue(f"the queue {binding.queue} is one of the daemons' own")
        with self._changing:
            known = self._bindings.setdefault(binding.queue.encode(), binding)
            reception = self._reception
        if (known.topic, known.client_id) != (binding.topic, binding.client_id):
            raise errors.QueueTaken(
                f"the queue {binding.queue} is that of topic {known.topic!r} "
                f"and client_id {known.client_id!r}"
            )
        if reception is not None and not self._has_handlers:
            _check_iterable(binding)
            self._in_loop(lambda: reception.add(known))

        def set_handler(handler: H) -> H:
            self._check_handler(handler)
            with self._changing:
                known.handler = handler
                known.policy = binding.policy
                known.begins, known.start = binding.begins, binding.start
                reception = self._reception
            # Not before, as a message could come.
            if reception is not None and self._has_handlers:
                self._in_loop(lambda: reception.add(known))
            return handler

        return set_handler

    def off(self, topic: str, *, client_id: str | None = None) -> None:
        """Stop receiving a topic, and remove its registration if ``register`` was set.

        Messages that have been fetched already are still handled. With a position that is the
        one in hand: the others stay in the queue and the journal, for the next :meth:`on`.

        :param client_id: as for :meth:`on`.
        :raises RequestError: topic or client_id is not valid.
        :raises Closed: it serves in the process that this one was forked from.
        """
        self._check_process()
        queue = self._binding(topic, client_id).queue.encode()
        with self._changing:
            binding = self._bindings.get(queue)
            reception = self._reception
            if binding is None:
                return
            if reception is None:
                del self._bindings[queue]
                return
        self._in_loop(lambda: reception.remove(binding))

    def _check_process(self) -> None:
        if self._is_foreign:
            raise errors.Closed(
                "this subscriber serves in the process that this one was forked from: make another"
            )

    def _binding(
        self,
        topic: str,
        client_id: str | None,
        policy: RetryPolicy = NO_RETRIES,
        start: StartAt | None = None,
    ) -> Binding:
        chosen = self._client_id if client_id is None else client_id
        if chosen is None:
            raise errors.InvalidClientId("there is no client_id: give one to on() or to the class")
        return Binding(topic, chosen, policy, start)

    def _check_handler(self, handler: Handler) -> None:
        """Raise TypeError if ``handler`` cannot be a handler."""
        if not callable(handler):
            raise TypeError("a handler must be callable")

    def _check_handlers(self, *, expected: bool) -> None:
        self._has_handlers = expected
        if not expected and self._options.position is not None:
            raise errors.ConfigurationError(
                "a position needs handlers: a message is done when its handler has ended"
            )
        for binding in self._bindings.values():
            if (binding.handler is not None) != expected:
                raise errors.ConfigurationError(
                    f"topic {binding.topic!r} has {'no' if expected else 'a'} handler: "
                    "either run() with a handler for every topic, or iterate without handlers"
                )
            if not expected:
                _check_iterable(binding)

    def _in_loop(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in the event loop."""
        raise NotImplementedError


def _check_iterable(binding: Binding) -> None:
    """Refuse a topic whose messages are to be tried again, where no handler does so."""
    if binding.policy.acts:
        raise errors.ConfigurationError(
            f"topic {binding.topic!r} has retries or a dead_letter, which need a handler: "
            "a program that iterates tries again itself"
        )
