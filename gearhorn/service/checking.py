# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Every fault of a configuration, for ``--check`` and for SIGHUP.

A start names the first fault and ends. Whoever corrects a file wants to know them all.
"""

import asyncio
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from oslo_config import cfg

from gearhorn import errors
from gearhorn.daemon import stores
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service import config, config_files, daemonize, log_faults, log_files
from gearhorn.store.base import Store
from gearhorn.store.identity import Terms
from gearhorn.store.journal import Journals
from gearhorn.wire import admin
from gearhorn.wire.address import Address

TLS_OPTIONS = ("tls_ca", "tls_cert", "tls_key")
_FILES = ("[service] pidfile", "[DEFAULT] log_file")
_GROUP = re.compile(r"\[(\w+)\] ")


def faults(arguments: Sequence[str], running: cfg.ConfigOpts | None = None) -> list[str]:
    """Return every fault of the configuration that a command line names, each with its file.

    :param running: the options with which a daemon runs, which may have given up the right
        to read its TLS files since.
    :raises SystemExit: the command line is wrong.
    """
    files = config_files.named_by(
        config.long_forms(arguments), project=config.PROJECT, program=config.PROGRAM
    )
    found = list(_faults_of_files(files))
    # Of a file that cannot be read nobody knows what else is wrong.
    if any(readable is False for readable, _ in found):
        return [fault for _, fault in found]
    try:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            conf = config.read(arguments, names=False)
    except errors.ConfigurationError as error:
        return [*(fault for _, fault in found), str(error)]
    except SystemExit as end:
        # oslo.config ends so for a wrong value of an option that the command line has too.
        if end.code != 1:
            sys.stderr.write(said.getvalue())
            raise
        return [*(fault for _, fault in found), _last_line(said.getvalue())]
    rest = [
        *config.wrong_values(conf),
        *log_faults.faults(conf),
        *_wrong_service(conf),
    ]
    if running is None:
        rest += _wrong_places(conf)
    same_tls = running is not None and all(
        conf.gearman[name] == running.gearman[name] for name in TLS_OPTIONS
    )
    rest += config.settings_faults(conf, tls=not same_tls)
    homes = config_files.homes(files)
    return [*(fault for _, fault in found), *(_located(homes, fault) for fault in rest)]


def _faults_of_files(files: Sequence[Path]) -> Iterator[tuple[bool, str]]:
    """Yield what is wrong with each file; with false where it cannot be read at all."""
    for path in files:
        try:
            for fault in config_files.wrong_names(path):
                yield True, fault
        except UnicodeDecodeError as error:
            yield False, f"{path} is not UTF-8: {error.reason}"
        except OSError as error:
            yield False, f"{path} cannot be read: {error.strerror}"
        except cfg.ParseError as error:
            yield False, f"Failed to parse {config.sentence(error).removeprefix('at ')}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["a value is wrong"]
    return lines[-1].removeprefix(f"{config.PROGRAM}: ").removeprefix("error: ")


def _wrong_service(conf: cfg.ConfigOpts) -> Iterator[str]:
    try:
        daemonize.identity(conf.service.user, conf.service.group)
        config.check_modes(conf)
    except errors.ConfigurationError as error:
        yield str(error)
    except (cfg.Error, ValueError):
        # Named already: a value that its option does not take.
        pass


def _wrong_places(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield a fault for each file that the daemon could not make where it is to be."""
    for option, path in _places(conf):
        if fault := log_files.unwritable(path, may_be_directory=option not in _FILES):
            yield f"{option}: {fault}"


def _places(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(cfg.Error, ValueError):
        if conf.service.pidfile:
            yield "[service] pidfile", conf.service.pidfile
    if not conf.log_config_append:
        if conf.log_file:
            yield "[DEFAULT] log_file", os.path.join(conf.log_dir or "", conf.log_file)
        elif conf.log_dir:
            yield "[DEFAULT] log_dir", os.path.join(conf.log_dir, "")
    with contextlib.suppress(cfg.Error, ValueError, errors.ConfigurationError):
        listen = config.listen_of(conf)
        if listen is not None and listen.path:
            yield "[http] listen", listen.path
    with contextlib.suppress(cfg.Error, ValueError):
        if conf.service.state_dir:
            yield "[service] state_dir", os.path.abspath(conf.service.state_dir)


def _located(homes: Mapping[tuple[str, str], Path], fault: str) -> str:
    """Return a fault with the file that has its option, if one has."""
    group = _GROUP.match(fault)
    if group is None:
        return fault
    # Of several that do not go together one may have its default.
    for name in re.findall(r"\w+", fault.partition("] ")[2]):
        home = homes.get((group[1].lower(), name))
        if home is not None:
            # oslo.config has named it for some values, as an absolute path.
            for named in (home.absolute(), home):
                fault = fault.removesuffix(f", in {named}")
            return f"{fault}, in {home}"
    return fault


async def unreachable(settings: DaemonSettings) -> list[str]:
    """Return a line for each store and each job server that cannot be used now."""
    opened: list[tuple[str, Store | Journals]] = [("[store]", stores.subscriptions_of(settings))]
    if settings.journal.url is not None:
        opened.append(("[journal]", stores.journals_of(settings)))
    tried = (
        *(_try_store(group, store) for group, store in opened),
        *(_try_server(one, settings) for one in settings.servers),
    )
    return [fault for fault in await asyncio.gather(*tried) if fault]


async def _try_store(group: str, store: Store | Journals) -> str:
    try:
        await store.open((), Terms.LOOK)
    except errors.StoreReplaced:
        # It is empty: a daemon makes it one.
        pass
    except errors.StoreError as error:
        return f"{group} url: {error}"
    finally:
        await store.close()
    return ""


async def _try_server(server: Address, settings: DaemonSettings) -> str:
    try:
        if await admin.gives_jobs(server, settings.wire):
            return ""
    except errors.ServerLost as error:
        text = str(error)
        return f"[gearman] servers: {text if str(server) in text else f'{server}: {text}'}"
    return f"[gearman] servers: {server} cannot be used: use gearmand 1.1.20 or later"
