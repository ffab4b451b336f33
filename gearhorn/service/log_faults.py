# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Every fault of the options of the log, with the option, before logging is set up.

oslo.log reads its options while it sets logging up, ends at the first that is wrong, and does
not say which that is.
"""

import importlib.util
import logging
import re
import syslog
from collections.abc import Iterator

from oslo_config import cfg

from gearhorn.service import config, log_files
from gearhorn.service.options import COMMAND_LINE

# LOG_KERN is 0, which oslo.log takes for none.
_FACILITIES = (
    *("USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV"),
    *("FTP", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7"),
)
_OF_THE_COMMAND_LINE = {option.dest for option in COMMAND_LINE}


def faults(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Yield each fault, as ``[DEFAULT] option: reason``."""
    wrong = dict(_wrong_values(conf))
    if wrong:
        yield from (f"[DEFAULT] {name}: {reason}" for name, reason in wrong.items())
        return
    if conf.log_config_append:
        # Nothing else counts then.
        if fault := log_files.fault(conf.log_config_append):
            yield f"[DEFAULT] log_config_append: {fault}"
        return
    yield from _wrong_facility(conf)
    if conf.use_journal and not _is_there("systemd.journal"):
        yield "[DEFAULT] use_journal: Python's package systemd is not installed"
    if conf.publish_errors and not _is_there("oslo_messaging"):
        yield "[DEFAULT] publish_errors: Python's package oslo.messaging is not installed"
    for pair in conf.default_log_levels:
        name, _, level = pair.partition("=")
        if not _is_level(level):
            yield f"[DEFAULT] default_log_levels: {level or 'nothing'} of {name} is no level"


def check_values(conf: cfg.ConfigOpts) -> None:
    """Look at all values: oslo.config checks one when it is read, which some never are.

    :raises ValueError: one is wrong.
    """
    if wrong := next(_wrong_values(conf), None):
        raise ValueError(wrong[1])


def of_error(conf: cfg.ConfigOpts, error: Exception) -> str:
    """Return the fault for which logging could not be set up, with its option and file."""
    fault = next(faults(conf), None) or _of_place(conf, error)
    found = re.match(r"\[DEFAULT\] (\w+): ", fault)
    try:
        location = conf.get_location(found[1]) if found else None
    except (cfg.Error, ValueError):
        # It cannot tell where a wrong value is from, which the fault says already.
        return fault
    if location is None or location.location is not cfg.Locations.user:
        return fault
    where = f", in {location.detail}"
    return fault if fault.endswith(where) else f"{fault}{where}"


def _of_place(conf: cfg.ConfigOpts, error: Exception) -> str:
    text = config.sentence(error) or type(error).__name__
    if conf.log_config_append:
        return f"[DEFAULT] log_config_append: {text}"
    if isinstance(error, OSError) and (conf.log_file or conf.log_dir):
        text = f"{error.filename}: {error.strerror}" if error.filename else text
        return f"[DEFAULT] {'log_file' if conf.log_file else 'log_dir'}: {text}"
    return text


def _wrong_values(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield each option whose value is none, and why: oslo.config reads a value when asked."""
    for name in conf:
        if name in _OF_THE_COMMAND_LINE or name.startswith("config_"):
            continue
        try:
            conf[name]
        except (cfg.Error, ValueError) as error:
            yield name, config.sentence(error)


def _wrong_facility(conf: cfg.ConfigOpts) -> Iterator[str]:
    if not conf.use_syslog and not conf.use_journal:
        return
    known = [name for name in _FACILITIES if hasattr(syslog, f"LOG_{name}")]
    facility = conf.syslog_log_facility
    if facility.upper().removeprefix("LOG_") not in known:
        yield (
            f"[DEFAULT] syslog_log_facility: {facility} is none of "
            f"{', '.join(f'LOG_{name}' for name in known)}"
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        # Of a package that is not there.
        return False


def _is_level(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return isinstance(logging.getLevelName(text), int)
    return True
