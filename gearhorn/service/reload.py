# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The configuration read again at SIGHUP, and what has changed in it put into force.

All or nothing: every fault is looked for, and HTTP has its new address, before the first
part of the daemon is told. Options that a running daemon cannot change keep their values,
and are named each time until the daemon is restarted or the file is as it was.

(Rejected: ``mutate_config_files()`` of oslo.config, which has changed the options before
anybody can say that two of them do not go together.)
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from oslo_config import cfg

from gearhorn import errors
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.net import tls
from gearhorn.service import checking, config, logs
from gearhorn.service.options import COMMAND_LINE, GROUPS
from gearhorn.service.switch import HttpSettings, Switch

LOG = logging.getLogger(__name__)

_MOST_FAULTS = 10
"""The faults that are named in one line of the log."""
_OF_THE_COMMAND_LINE = {option.dest for option in COMMAND_LINE}

Adapt = Callable[[DaemonSettings], DaemonSettings]


class Change(NamedTuple):
    """An option with another value than before, and both as text."""

    option: cfg.Opt
    group: str
    before: Any
    now: Any

    def __str__(self) -> str:
        before, now = (config.shown_value(self.option, one) for one in (self.before, self.now))
        return f"[{self.group}] {self.option.name} = {now} (was {before})"


def changes(before: cfg.ConfigOpts, now: cfg.ConfigOpts) -> Iterator[Change]:
    """Yield the options of gearhorn that differ."""
    for group, options in GROUPS.items():
        for option in options:
            values = before[group.name][option.dest], now[group.name][option.dest]
            if values[0] != values[1]:
                yield Change(option, group.name, *values)


def changes_of_log(before: cfg.ConfigOpts, now: cfg.ConfigOpts) -> Iterator[Change]:
    """Yield the options of oslo.log that differ: all of them take effect."""
    for name in now:
        if name in _OF_THE_COMMAND_LINE or name.startswith("config_"):
            continue
        value = now[name]
        if not isinstance(value, cfg.ConfigOpts.GroupAttr) and value != before[name]:
            yield Change(cfg.StrOpt(name), "DEFAULT", before[name], value)


class Reload:
    """The reading of the configuration, again and again.

    :param arguments: the command line.
    :param conf: the options with which the daemon starts.
    """

    def __init__(self, arguments: Sequence[str], conf: cfg.ConfigOpts) -> None:
        self._arguments = arguments
        self._conf = conf
        # Paths were relative to it; detaching goes elsewhere.
        self._directory = _directory()
        self.adapt: Adapt = lambda settings: settings
        """Returns the settings as the way to run wants them."""

    async def __call__(self, daemon: Daemon, switch: Switch) -> None:
        """Read the options, and have the daemon go by them."""
        elsewhere = _directory()
        fault = ""
        try:
            _go_to(self._directory)
            done = self._read(daemon, switch)
        except (errors.GearhornError, OSError) as error:
            fault = str(error)
        except SystemExit:
            fault = "stderr has the reason"
        finally:
            _go_to(elsewhere)
        # Not while an exception is handled: oslo.log would add its text a second time.
        if fault:
            logs.reopen()
            LOG.error("SIGHUP: nothing is changed, as the configuration is wrong: %s", fault)
            return
        conf, http, listener, changed, kept = done
        self._conf = conf
        await switch.apply(http, listener)
        LOG.info(
            "SIGHUP: log files are opened anew; changed: %s",
            ", ".join(map(str, changed)) or "nothing",
        )
        if kept:
            LOG.error(
                "SIGHUP: not changed, as that needs a restart; the old value goes on: %s",
                ", ".join(map(str, kept)),
            )
        conf.log_opt_values(LOG, logging.DEBUG)

    def _read(self, daemon: Daemon, switch: Switch) -> tuple[Any, ...]:
        """Put into force all that is not HTTP; return what is left to do and to say.

        :raises GearhornError: something is wrong, and nothing has changed.
        """
        before = self._conf
        faults = checking.faults(self._arguments, before)
        if faults:
            more = [f"and {len(faults) - _MOST_FAULTS} more"] if faults[_MOST_FAULTS:] else []
            raise errors.ConfigurationError("; ".join(faults[:_MOST_FAULTS] + more))
        conf = config.load(self._arguments)
        logs.fall_back(conf)
        changed = [*changes_of_log(before, conf), *changes(before, conf)]
        kept = [one for one in changed if one.group != "DEFAULT" and not one.option.mutable]
        for one in kept:
            conf.set_override(one.option.name, one.before, one.group)
        settings = self._settings(daemon, conf, changed)
        http = http_settings(conf)
        with contextlib.ExitStack() as stack:
            listener = switch.bind(http)
            if listener is not None:
                stack.callback(listener.close)
            logs.set_up_again(before, conf)
            stack.pop_all()
        daemon.apply(settings)
        return conf, http, listener, [one for one in changed if one not in kept], kept

    def _settings(
        self, daemon: Daemon, conf: cfg.ConfigOpts, changed: Sequence[Change]
    ) -> DaemonSettings:
        known = None
        if not any(one.option.name in checking.TLS_OPTIONS for one in changed):
            # What files of the same names hold now is told by the context itself.
            known = daemon.settings.wire.tls
            tls.for_connection(known)
        return self.adapt(config.settings_of(conf, tls=known))


def http_settings(conf: cfg.ConfigOpts) -> HttpSettings | None:
    """Return where HTTP is served and what is shown there, ``None`` if it is not."""
    listen = config.listen_of(conf)
    return None if listen is None else HttpSettings(listen, config.shown(conf))


def _directory() -> str | None:
    """Return the current directory, ``None`` if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _go_to(directory: str | None) -> None:
    """Change to a directory if that is possible: absolute paths need none."""
    if directory is not None:
        # Another user's may not be entered by the one that the daemon has become.
        with contextlib.suppress(OSError):
            os.chdir(directory)
