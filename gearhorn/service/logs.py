# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The set-up of logging."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from oslo_config import cfg
from oslo_log import log

from gearhorn import errors, messages
from gearhorn.service import log_faults
from gearhorn.service.config import PROGRAM, PROJECT

# Below warnings these say nothing of use to an operator. An entry for one of them in
# default_log_levels takes precedence.
_QUIET = ("asyncio", "gear", "redis")


def goes_elsewhere(conf: cfg.ConfigOpts) -> bool:
    """Return true if the options send the log elsewhere than to stderr."""
    return bool(
        conf.log_config_append
        or conf.log_file
        or conf.log_dir
        or conf.use_syslog
        or conf.use_journal
    )


_kept: list[logging.Handler] = []


def keep(handler: logging.Handler) -> None:
    """Have a handler get all records, also after logging was set up again."""
    _kept.append(handler)
    logging.getLogger().addHandler(handler)


def keep_no_more(handler: logging.Handler) -> None:
    """Take such a handler away."""
    _kept.remove(handler)
    logging.getLogger().removeHandler(handler)


def fall_back(conf: cfg.ConfigOpts) -> None:
    """Have the options name stderr if they name nothing: oslo.log would take stdout."""
    if not goes_elsewhere(conf):
        conf.set_default("use_stderr", True)


def setup(conf: cfg.ConfigOpts) -> None:
    """Set logging up as the options say, on stderr if they say nothing.

    :raises ConfigurationError: logging cannot be set up like that.
    """
    fall_back(conf)
    try:
        log_faults.check_values(conf)
        log.setup(conf, PROJECT)
    except Exception as error:
        # What a file of log_config_append names may raise anything.
        fault = log_faults.of_error(conf, error)
        raise errors.ConfigurationError(f"logging cannot be set up: {fault}") from None
    for handler in logging.getLogger().handlers:
        _complain_once(handler)
        handler.addFilter(_escape)
    for handler in _kept:
        logging.getLogger().addHandler(handler)
    if not conf.log_config_append:
        configured = {pair.partition("=")[0] for pair in conf.default_log_levels}
        for name in _QUIET:
            if name not in configured:
                logging.getLogger(name).setLevel(logging.WARNING)


def _escape(record: logging.LogRecord) -> bool:
    """Have a line show what a stranger has named without what a terminal acts on."""
    try:
        text = record.getMessage()
    except Exception:
        # The handler says what is wrong with it.
        return True
    if not text.isprintable():
        record.msg, record.args = messages.printable(text), None
    return True


def _complain_once(handler: logging.Handler) -> None:
    """Say once that a log cannot be written, as on a full disk, not with each line."""
    complained = False

    def handle_error(record: logging.LogRecord) -> None:
        nonlocal complained
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler.handleError(handler, record)
        elif not complained:
            complained = True
            with contextlib.suppress(OSError):
                sys.stderr.write(
                    f"{PROGRAM}: a log cannot be written, lines are lost: {error.strerror}\n"
                )

    # oslo.log makes the handlers.
    handler.handleError = handle_error  # type: ignore[method-assign]


def reopen() -> None:
    """Have each log file opened anew when the next line is written."""
    for logger in _loggers():
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()


def set_up_again(former: cfg.ConfigOpts, conf: cfg.ConfigOpts) -> None:
    """Reopen the log files, and set the levels that the options now name.

    :param former: the options as they were.
    :raises ConfigurationError: it cannot be done as they say; nothing has changed.
    """
    before = [(one, one.handlers[:], one.level, one.propagate) for one in _loggers()]
    for pair in former.default_log_levels:
        logging.getLogger(pair.partition("=")[0]).setLevel(logging.NOTSET)
    try:
        setup(conf)
    except errors.ConfigurationError:
        for logger, handlers, level, propagate in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
        raise
    used = {handler for logger in _loggers() for handler in logger.handlers}
    for handler in {handler for _, handlers, _, _ in before for handler in handlers}:
        # oslo.log leaves handlers of a file that has not changed: they open theirs again.
        if handler not in used or isinstance(handler, logging.FileHandler):
            handler.close()


def _loggers() -> Iterator[logging.Logger]:
    yield logging.getLogger()
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            yield logger
