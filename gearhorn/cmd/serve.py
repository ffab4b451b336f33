# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout``: the daemon.

Its exit codes, which --help lists too:

====== ========================================================================
code   when
====== ========================================================================
0      it was stopped by a signal and has drained; --accept-store, --adopt-journals:
       done; --check: nothing is wrong
1      an unexpected error; the log has the traceback. --probe: not live or ready
2      the command line is wrong
69     the job server of --standalone cannot be started, or its port is busy;
       --accept-store finds another store in use, or no job server or store;
       --adopt-journals finds a daemon of an older release, or no store
73     the pid file cannot be made, or a running process holds it
74     what --help or --version shows cannot be written
78     the configuration is wrong, or the store refuses it; --check=connect: a server
       cannot be used
128+n  a second signal of number n came while it drained, or one before it had started
====== ========================================================================
"""

import asyncio
import contextlib
import functools
import gc
import io
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from oslo_config import cfg

from gearhorn import errors
from gearhorn.cmd import streams
from gearhorn.daemon.journal import adopting
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust import acceptance
from gearhorn.service import (
    checking,
    config,
    daemonize,
    exposure,
    logs,
    options,
    probe,
    running,
    standalone,
)
from gearhorn.service.listening import Listen
from gearhorn.service.reload import Reload, http_settings

LOG = logging.getLogger(__name__)

# From sysexits.h: service managers know these.
EX_UNAVAILABLE = 69
EX_CANTCREAT = 73
EX_IOERR = 74
EX_CONFIG = 78

_GARBAGE_THRESHOLD = 20_000
"""The new objects after which Python looks for reference cycles, instead of 700:
fan-outs leave none, and looking took a fourteenth of the daemon's time."""

_DESCRIPTION = "Fan-out for Gearman: one job in, a copy for every subscriber."

_EPILOG = """\
examples:
  gearhorn-fanout --standalone
      try it: with a job server and a store of its own; says what to type next
  gearhorn-fanout --config /etc/gearhorn.conf
      as a service, in the foreground, with the job servers and the store
      that the file names
  gearhorn-fanout --config /etc/gearhorn.conf --accept-store
      accept a store that was emptied or replaced, for the daemons that wait
  gearhorn-fanout --config /etc/gearhorn.conf --adopt-journals
      make the file's [journal] topics those of all daemons
  gearhorn-fanout --config /etc/gearhorn.conf --probe ready
      ask the daemon that runs with this file, on [http] listen, if it is ready
  gearhorn-fanout --config /etc/gearhorn.conf --check
      say everything that is wrong with the file, before a start or a reload
  gearhorn-fanout --config-dir /etc/gearhorn.conf.d --debug --log-file fanout.log
      with all files *.conf of a directory, and a detailed log

Without --config the files gearhorn.conf and gearhorn-fanout.conf are looked
for in ~/.gearhorn, ~, /etc/gearhorn and /etc; --standalone looks for none.

SIGTERM and SIGINT let it finish the jobs in hand for [service] drain_timeout
seconds and stop; a second one stops it at once. SIGHUP has it open its log files
anew and read its configuration again; the log says what has changed, and what a
restart would change. From a terminal that is closed SIGHUP stops it. SIGUSR1 has
it write a report of what it does and holds into its log.

exit codes:
  0      stopped and drained; --accept-store, --adopt-journals, --check: done
  1      unexpected error; the log has the traceback. --probe: not live or ready
  2      wrong command line
  69     no job server, or a busy port; --accept-store, --adopt-journals: refused
  73     the pid file cannot be made, or a running process holds it
  74     what --help or --version shows cannot be written
  78     wrong configuration, or the store refuses it; --check: something is wrong
  128+n  second signal, of number n, or one before it had started
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    running.pass_over_hangups()
    streams.escape_unencodable()
    try:
        if any(one.partition("=")[0] == "--check" for one in arguments):
            return _check(arguments)
        conf = _load(arguments)
        return _run(conf, Reload(arguments, conf))
    except errors.ConfigurationError as error:
        return _fail(error, EX_CONFIG)
    except SystemExit as end:
        # oslo.config exits with 1, after saying why, if a file has a wrong value for an
        # option that the command line has too.
        if end.code == 1:
            return EX_CONFIG
        raise
    except KeyboardInterrupt:
        # It came before the loop handled signals.
        return 128 + signal.SIGINT
    finally:
        # Of a terminal that was closed, Python would complain by another exit code.
        streams.discard_unwritten()


def _load(arguments: Sequence[str]) -> cfg.ConfigOpts:
    shown = io.StringIO()
    try:
        # argparse would pass over an error in writing --help.
        with contextlib.redirect_stdout(shown):
            return config.load(arguments, description=_DESCRIPTION, epilog=_EPILOG)
    except SystemExit:
        if not streams.write_out(config.PROGRAM, shown.getvalue()):
            raise SystemExit(EX_IOERR) from None
        raise


def _check(arguments: Sequence[str]) -> int:
    """Say everything that is wrong with the configuration."""
    faults = checking.faults(arguments)
    if not faults:
        conf = config.load(arguments)
        if conf.check == options.CONNECT:
            faults = asyncio.run(checking.unreachable(config.settings_of(conf)))
    for fault in faults:
        _say(fault)
    if faults:
        return EX_CONFIG
    done = "nothing is wrong with the configuration"
    return 0 if streams.write_out(config.PROGRAM, f"{done}\n") else EX_IOERR


def _run(conf: cfg.ConfigOpts, reload: Reload) -> int:
    settings = config.settings_of(conf)
    # A wrong address is to be named before anything begins.
    config.listen_of(conf)
    who = daemonize.identity(conf.service.user, conf.service.group)
    config.check_modes(conf)
    if conf.accept_store:
        if conf.standalone_mode:
            raise errors.ConfigurationError("--accept-store: --standalone accepts any store")
        daemonize.become(who)
        return _say_done(acceptance.accept(settings, conf.despite))
    if conf.adopt_journals:
        if conf.standalone_mode:
            raise errors.ConfigurationError("--adopt-journals: --standalone has one daemon")
        daemonize.become(who)
        return _say_done(adopting.adopt(settings))
    if conf.probe:
        return _probe(config.listen_of(conf), conf.probe)
    with contextlib.ExitStack() as stack:
        # The order matters: making the pid file may need root, and the log file is to
        # belong to the user. Until detaching, errors go to the terminal.
        pid_file = None
        if conf.service.pidfile:
            pid_file = daemonize.PidFile(conf.service.pidfile)
            try:
                pid_file.take()
            except daemonize.PidFileUnusable as error:
                return _fail(error, EX_CANTCREAT)
            stack.callback(pid_file.release)
        daemonize.become(who)
        if conf.service.daemonize:
            daemonize.restrict_umask()
        logs.setup(conf)
        # Before paths that are relative lead elsewhere.
        exposure.warn(conf)
        if conf.service.daemonize:
            if not logs.goes_elsewhere(conf):
                _say("in the background nothing is logged without log_file or the like")
            daemonize.detach(pid_file)
        conf.log_opt_values(LOG, logging.DEBUG)
        _tune_garbage_collection()
        return _serve(conf, settings, reload)


def _say_done(work: Coroutine[Any, Any, str]) -> int:
    """Do what an operator's word asks for, and say what was done."""
    try:
        done = asyncio.run(work)
    except errors.StoreMisconfigured as error:
        return _fail(error, EX_CONFIG)
    except (acceptance.NotAccepted, adopting.NotAdopted, errors.StoreError) as error:
        return _fail(error, EX_UNAVAILABLE)
    return 0 if streams.write_out(config.PROGRAM, f"{done}\n") else EX_IOERR


def _probe(listen: Listen | None, what: str) -> int:
    if listen is None:
        raise errors.ConfigurationError("--probe asks on [http] listen, which is not set")
    sound, text = probe.probe(listen, what)
    if not streams.write_out(config.PROGRAM, text):
        return EX_IOERR
    return 0 if sound else 1


def _tune_garbage_collection() -> None:
    """Make Python look for garbage rarely, and not among objects that stay for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def _serve(conf: cfg.ConfigOpts, settings: DaemonSettings, reload: Reload) -> int:
    try:
        if conf.standalone_mode:
            asyncio.run(_run_standalone(conf, settings, reload))
        else:
            asyncio.run(running.run(settings, http_settings(conf), on_reload=reload))
        return 0
    except (errors.ConfigurationError, errors.StoreMisconfigured) as error:
        failed, code = str(error), EX_CONFIG
    except standalone.JobServerFailed as error:
        failed, code = str(error), EX_UNAVAILABLE
    except Exception:
        LOG.critical("unexpected error; this is a bug of gearhorn", exc_info=True)
        return 1
    # Not in the handler: oslo.log would add the exception.
    _say(failed)
    if logs.goes_elsewhere(conf):
        LOG.error("the daemon ends: %s", failed)
    return code


async def _run_standalone(conf: cfg.ConfigOpts, settings: DaemonSettings, reload: Reload) -> None:
    for name, group in (("servers", "gearman"), ("url", "store")):
        location = conf.get_location(name, group)
        if location is not None and location.location == cfg.Locations.user:
            LOG.warning("[%s] %s does not count: --standalone has its own", group, name)
    port = conf.standalone.port
    directory = standalone.state_directory(conf.standalone.directory)
    reload.adapt = functools.partial(standalone.standalone_settings, port=port, directory=directory)
    settings = reload.adapt(settings)
    with standalone.held_directory(directory):
        async with standalone.job_server(port, directory) as program:

            def greet() -> None:
                text = standalone.greeting(program, settings, directory)
                streams.write_out(config.PROGRAM, f"{text}\n")

            await running.run(settings, http_settings(conf), on_ready=greet, on_reload=reload)


def _fail(error: errors.GearhornError, code: int) -> int:
    _say(str(error))
    return code


def _say(text: str) -> None:
    streams.complain(f"{config.PROGRAM}: {text}")


if __name__ == "__main__":
    sys.exit(main())
