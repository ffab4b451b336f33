# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The set-up of logging."""

import logging

from oslo_config import cfg
from oslo_log import log

from gearhorn import errors
from gearhorn.service.config import PROJECT

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


def setup(conf: cfg.ConfigOpts) -> None:
    """Set logging up as the options say, on stderr if they say nothing.

    :raises ConfigurationError: logging cannot be set up like that.
    """
    # oslo.log would fall back to stdout.
    if not goes_elsewhere(conf):
        conf.set_default("use_stderr", True)
    try:
        log.setup(conf, PROJECT)
    except (log.LogConfigError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise errors.ConfigurationError(f"logging cannot be set up: {error}") from None
    if not conf.log_config_append:
        configured = {pair.partition("=")[0] for pair in conf.default_log_levels}
        for name in _QUIET:
            if name not in configured:
                logging.getLogger(name).setLevel(logging.WARNING)
