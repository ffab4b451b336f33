# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The configuration, and the daemon's settings that are made from it."""

import argparse
import contextlib
import math
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log

from gearhorn import errors, messages
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.messages import FunctionNames
from gearhorn.net.tls import tls_context
from gearhorn.service import config_files
from gearhorn.service.listening import Listen
from gearhorn.service.options import COMMAND_LINE, GROUPS, WORDS
from gearhorn.store import open_store
from gearhorn.version import installed_version
from gearhorn.wire.address import Address, parse_addresses
from gearhorn.wire.connection import ConnectionSettings

PROJECT = "gearhorn"
PROGRAM = "gearhorn-fanout"

_NO_NUMBER = re.compile(
    r"(?:invalid literal for int\(\) with base 10|could not convert string to float): ('.*?')"
).sub

_LONGEST_TAIL = f"-{2**22}-{'0' * 8}"
"""The longest addition to the daemon's name: the process id and a random part."""


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options, for oslo.config's generator and documentation."""
    return [(group, list(options)) for group, options in GROUPS.items()]


class _Parser(cfg.ConfigOpts):
    """A parser that keeps the line breaks in the text at the end of --help.

    Options have to be written out: --accept-store is an operator's word.
    """

    def _pre_setup(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._pre_setup(*args, **kwargs)
        assert self._oparser is not None
        self._oparser.formatter_class = argparse.RawDescriptionHelpFormatter
        self._oparser.allow_abbrev = False
        return result


def load(
    arguments: Sequence[str], *, description: str | None = None, epilog: str | None = None
) -> cfg.ConfigOpts:
    """Read the command line and the configuration files that it names.

    If it names none, ``gearhorn.conf`` and ``gearhorn-fanout.conf`` are looked for in
    ``~/.gearhorn``, ``~``, ``/etc/gearhorn`` and ``/etc``; but not with
    ``--standalone``, which is to start anywhere.

    :raises ConfigurationError: a file cannot be read, or has a wrong option or value.
    :raises SystemExit: the command line is wrong, or asks for --help or --version.
    """
    conf = read(arguments, description=description, epilog=epilog)
    _check_values(conf)
    _check_acceptance(conf)
    return conf


def read(
    arguments: Sequence[str],
    *,
    description: str | None = None,
    epilog: str | None = None,
    names: bool = True,
) -> cfg.ConfigOpts:
    """Do as :func:`load`, and leave the values to be checked.

    :param names: false to leave the names in the files to be checked too.
    """
    conf = _Parser()
    log.register_options(conf)
    conf.register_cli_opts(COMMAND_LINE)
    for group, options in GROUPS.items():
        # Another object each time: what is overridden in one stays there.
        conf.register_group(cfg.OptGroup(group.name, help=group.help))
        conf.register_opts(options, group.name)
    arguments = long_forms(arguments)
    # None means the usual places.
    searched: list[str] | None = [] if "--standalone" in arguments else None
    try:
        conf(
            arguments,
            project=PROJECT,
            prog=PROGRAM,
            version=f"{PROGRAM} {installed_version()}",
            usage=f"{PROGRAM} [OPTION]...",
            description=description,
            epilog=epilog,
            default_config_files=searched,
            default_config_dirs=searched,
        )
        _check_words(conf)
        if names:
            _check_names(conf)
    except UnicodeDecodeError as error:
        raise errors.ConfigurationError(
            f"{_undecodable(arguments)} is not UTF-8: {error.reason}"
        ) from None
    except (cfg.Error, OSError) as error:
        raise errors.ConfigurationError(sentence(error)) from None
    return conf


def _check_words(conf: cfg.ConfigOpts) -> None:
    given = [f"--{word}" for word in WORDS if conf[word.replace("-", "_")]]
    if len(given) > 1:
        assert conf._oparser is not None
        conf._oparser.error(f"{given[0]} does not go with {given[1]}: give one at a time")


def _undecodable(arguments: Sequence[str]) -> str:
    """Return the path of the configuration file that is not UTF-8."""
    for path in config_files.named_by(arguments, project=PROJECT, program=PROGRAM):
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            return str(path)
        except OSError:
            pass
    return "a configuration file"


def long_forms(arguments: Sequence[str]) -> list[str]:
    """Return the command line as oslo.config takes it."""
    # An alias: oslo.config has none for its own options.
    return [
        "--config-file" + argument.removeprefix("--config")
        if argument.partition("=")[0] == "--config"
        else argument
        for argument in arguments
    ]


def sentence(error: BaseException) -> str:
    """Return the error on one line, without oslo.config's own terms."""
    text = _NO_NUMBER(r"\1 is no number", " ".join(str(error).split()))
    if "\\ufeff" in text:
        return f"{text}. It begins with a byte order mark (BOM): save it without one"
    found = re.fullmatch(r".*LocationInfo\(.*detail='(.*)'\) is not valid: (.*)", text)
    return f"{found[2]}, in {found[1]}" if found else text


def _check_names(conf: cfg.ConfigOpts) -> None:
    for path in config_files.paths(conf.config_file or (), conf.config_dirs):
        for fault in config_files.wrong_names(path):
            raise errors.ConfigurationError(fault)


def check_modes(conf: cfg.ConfigOpts) -> None:
    """Refuse ways to run that do not go together.

    :raises ConfigurationError: two of them are asked for.
    """
    if conf.standalone_mode and conf.service.daemonize:
        raise errors.ConfigurationError(
            "[service] daemonize: --standalone runs in the foreground only"
        )


def _check_acceptance(conf: cfg.ConfigOpts) -> None:
    for tag in conf.despite:
        if not conf.accept_store:
            raise errors.ConfigurationError("--despite goes with --accept-store")
        if re.fullmatch("[0-9a-f]{8}", tag) is None:
            raise errors.ConfigurationError(
                f"--despite: {tag!r} is no store; --accept-store names stores by eight digits"
            )


def _check_values(conf: cfg.ConfigOpts) -> None:
    for fault in wrong_values(conf):
        raise errors.ConfigurationError(fault)


def wrong_values(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield a fault for each value that its option does not take.

    oslo.config checks a value only when it is read.
    """
    for group, options in GROUPS.items():
        for option in options:
            name = f"[{group.name}] {option.name}"
            try:
                value = conf[group.name][option.dest]
            except (cfg.Error, ValueError) as error:
                reason = "write a dollar sign as $$" if option.secret else sentence(error)
                yield f"{name}: {reason}"
                continue
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{name}: {value} is no number of seconds"


def listen_of(conf: cfg.ConfigOpts) -> Listen | None:
    """Return the address on which HTTP is served, ``None`` if it is not.

    :raises ConfigurationError: it is no address.
    """
    return Listen.parse(conf.http.listen) if conf.http.listen else None


def shown(conf: cfg.ConfigOpts) -> dict[str, str]:
    """Return all options of gearhorn as they are in force, without secrets."""
    found = {}
    for group, options in GROUPS.items():
        for option in options:
            value = conf[group.name][option.dest]
            found[f"[{group.name}] {option.name}"] = shown_value(option, value)
    return found


def shown_value(option: cfg.Opt, value: object) -> str:
    """Return a value of an option as text, unless that is secret."""
    if option.secret:
        return "****"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "not set" if value is None else str(value)


def settings_of(conf: cfg.ConfigOpts, *, tls: ssl.SSLContext | None = None) -> DaemonSettings:
    """Return the settings of the daemon.

    :param tls: a context that was made of the same files before.
    :raises ConfigurationError: a value is wrong, or does not go with another.
    """
    return DaemonSettings(
        servers=_servers(conf),
        store_url=_store_url(conf),
        worker_name=_worker_name(conf),
        wire=ConnectionSettings(
            tls=tls or _tls(conf),
            connect_timeout=conf.gearman.connect_timeout,
            liveness_interval=conf.gearman.liveness_interval,
            liveness_timeout=conf.gearman.liveness_timeout,
            reconnect_max=conf.gearman.reconnect_max,
        ),
        functions=_functions(conf),
        key_prefix=conf.store.key_prefix,
        store_timeout=conf.store.timeout,
        create=conf.store.create,
        state_dir=_state_dir(conf),
        fanout_timeout=_fanout_timeout(conf),
        max_timeout=conf.fanout.max_timeout,
        order=conf.fanout.order,
        max_in_flight=conf.fanout.max_in_flight,
        max_open_fanouts=conf.fanout.max_open_fanouts,
        max_open_copies=conf.fanout.max_open_copies,
        max_message_bytes=conf.fanout.max_message_bytes,
        generate_unique=conf.fanout.generate_unique,
        matchmaking_topic=conf.matchmaking.topic,
        leases=_leases(conf),
        max_cached_topics=conf.matchmaking.max_cached_topics,
        limits=_limits(conf),
        journal=_journal(conf),
        drain_timeout=conf.service.drain_timeout,
        # Samples are shown over HTTP and nowhere else.
        queue_interval=conf.http.queue_interval if conf.http.listen else None,
        top_topics=conf.http.top_topics,
    )


def settings_faults(conf: cfg.ConfigOpts, *, tls: bool = True) -> Iterator[str]:
    """Yield each fault for which there are no settings.

    :param tls: false to leave out the files for job servers.
    """
    yield from _raised_by(_servers, conf)
    if tls:
        yield from _raised_by(_tls, conf)
    yield from _wrong_functions(conf)
    yield from _raised_by(_store_url, conf)
    yield from _raised_by(_fanout_timeout, conf)
    yield from _wrong_own_name(conf)
    yield from _raised_by(_leases, conf)
    yield from _wrong_limits(conf)
    yield from _wrong_topics(conf)
    yield from _raised_by(_check_journal_url, conf)
    yield from _raised_by(_state_dir, conf)
    yield from _raised_by(listen_of, conf)


def _raised_by(
    read_part: Callable[[cfg.ConfigOpts], object], conf: cfg.ConfigOpts
) -> Iterator[str]:
    try:
        read_part(conf)
    except errors.ConfigurationError as error:
        yield str(error)
    except (cfg.Error, ValueError):
        # A value that its option does not take: that is a fault of its own.
        pass


def _refuse(faults: Iterator[str]) -> None:
    for fault in faults:
        raise errors.ConfigurationError(fault)


def _values(conf: cfg.ConfigOpts, group: str) -> dict[str, Any]:
    """Return the values of a group, without those that their options do not take."""
    found = {}
    for name in conf[group]:
        with contextlib.suppress(cfg.Error, ValueError):
            found[name] = conf[group][name]
    return found


def _limits(conf: cfg.ConfigOpts) -> LimitSettings:
    _refuse(_wrong_limits(conf))
    return LimitSettings(**dict(conf.limits.items()))


def _wrong_limits(conf: cfg.ConfigOpts) -> Iterator[str]:
    limits = _values(conf, "limits")
    most = limits.get("max_waiting", 0)
    if 0 < most < messages.LEAST_WAITING:
        yield f"[limits] max_waiting: {most} is neither 0 nor at least {messages.LEAST_WAITING}"
    for name in ("remove_idle", "discard_after"):
        seconds = limits.get(name, 0)
        if 0 < seconds < messages.LEAST_IDLE_S:
            yield f"[limits] {name}: {seconds:g} is neither 0 nor at least {messages.LEAST_IDLE_S}"
    cache_ttl = _values(conf, "matchmaking").get("cache_ttl", 0)
    discard_after = limits.get("discard_after", 0)
    # Named beside the fault above only if it would outlast that.
    if discard_after > 0 and max(discard_after, messages.LEAST_IDLE_S) < 2 * cache_ttl:
        yield (
            f"[limits] discard_after: {discard_after:g} is below twice [matchmaking] "
            f"cache_ttl, {cache_ttl:g}: lists may still have the subscription"
        )


def _journal(conf: cfg.ConfigOpts) -> JournalSettings:
    _refuse(_wrong_topics(conf))
    _check_journal_url(conf)
    return JournalSettings(**{**dict(conf.journal.items()), "topics": tuple(conf.journal.topics)})


def _wrong_topics(conf: cfg.ConfigOpts) -> Iterator[str]:
    for text in _values(conf, "journal").get("topics", ()):
        try:
            Patterns(JournalSettings(topics=(text,)))
        except errors.ConfigurationError as error:
            yield f"[journal] topics: {error}"


def _check_journal_url(conf: cfg.ConfigOpts) -> None:
    if conf.journal.url is not None:
        _check_url("[journal] url", conf.journal.url, conf)


def _fanout_timeout(conf: cfg.ConfigOpts) -> float:
    timeout: float = conf.fanout.timeout
    if timeout > conf.fanout.max_timeout:
        raise errors.ConfigurationError(
            f"[fanout] timeout: {timeout:g} is above max_timeout, {conf.fanout.max_timeout:g}"
        )
    return timeout


def _leases(conf: cfg.ConfigOpts) -> Leases:
    try:
        return Leases(conf.matchmaking.cache_ttl, conf.matchmaking.daemon_ttl)
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"[matchmaking] daemon_ttl: {error}") from None


def _servers(conf: cfg.ConfigOpts) -> Sequence[Address]:
    try:
        return parse_addresses(conf.gearman.servers)
    except errors.InvalidServer as error:
        raise errors.ConfigurationError(f"[gearman] servers: {error}") from None


def _store_url(conf: cfg.ConfigOpts) -> str:
    url: str = conf.store.url
    _check_url("[store] url", url, conf)
    return url


def _check_url(option: str, url: str, conf: cfg.ConfigOpts) -> None:
    try:
        # This does not connect. It shows errors in the URL before detaching.
        open_store(
            url,
            key_prefix=conf.store.key_prefix,
            matchmaking_topic=conf.matchmaking.topic,
            timeout=conf.store.timeout,
        )
    except errors.StoreMisconfigured as error:
        raise errors.ConfigurationError(f"{option}: {error}") from None


def _state_dir(conf: cfg.ConfigOpts) -> Path | None:
    configured: str | None = conf.service.state_dir
    if configured is None:
        # systemd can set several.
        configured = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not configured:
        return None
    # Absolute, as detaching goes to another directory.
    return Path(configured).absolute()


def _tls(conf: cfg.ConfigOpts) -> Any:
    paths = (conf.gearman.tls_ca, conf.gearman.tls_cert, conf.gearman.tls_key)
    try:
        return tls_context(*paths)
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"[gearman] tls_ca, tls_cert, tls_key: {error}") from None


def _worker_name(conf: cfg.ConfigOpts) -> str:
    _refuse(_wrong_own_name(conf))
    return _own_name(conf)


def _own_name(conf: cfg.ConfigOpts) -> str:
    name: str = conf.gearman.worker_id or socket.gethostname()
    return name


def _wrong_own_name(conf: cfg.ConfigOpts) -> Iterator[str]:
    name, topic = _own_name(conf), conf.matchmaking.topic
    try:
        messages.check_topic(topic)
    except errors.RequestError as error:
        yield f"[matchmaking] topic: {error}"
        topic = DaemonSettings.matchmaking_topic
    try:
        messages.check_subscription(topic, name + _LONGEST_TAIL)
    except errors.RequestError as error:
        yield f"[gearman] worker_id: {error}"
    yield from _white_space("[gearman] worker_id", name)
    yield from _white_space("[matchmaking] topic", topic)


def _white_space(option: str, name: str) -> Iterator[str]:
    # White space separates the fields of gearmand's answers in text.
    if len(name.split()) != 1:
        yield f"{option}: {name!r} holds white space"


def _functions(conf: cfg.ConfigOpts) -> FunctionNames:
    _refuse(_wrong_functions(conf))
    return FunctionNames(**dict(conf.functions.items()))


def _wrong_functions(conf: cfg.ConfigOpts) -> Iterator[str]:
    prefix = messages.queue_name(conf.matchmaking.topic, "")
    taken: dict[str, str] = {}
    for option, name in _values(conf, "functions").items():
        title = f"[functions] {option}"
        try:
            # The rule for topics is the rule for all names.
            messages.check_topic(name)
        except errors.RequestError as error:
            reason = str(error).replace("topic", "the name", 1)
            yield f"{title}: {reason}"
            continue
        yield from _white_space(title, name)
        if name.lower().startswith(prefix.lower()):
            yield f"{title}: {name!r} begins with {prefix!r}, as the daemons' own functions do"
        if name in taken:
            yield f"{title}: {name!r} is the name of [functions] {taken[name]} already"
        taken[name] = option
