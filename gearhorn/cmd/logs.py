# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Where log lines go."""

import logging

from oslo_config import cfg
from oslo_log import log

from gearhorn import errors
from gearhorn.config import PROJECT

# What they say below this is of no use to an operator. An entry for one of
# them in default_log_levels comes first.
_QUIET = ("asyncio", "gear", "redis")


def goes_elsewhere(conf: cfg.ConfigOpts) -> bool:
    """Whether the options send the log elsewhere than to stderr."""
    return bool(
        conf.log_config_append
        or conf.log_file
        or conf.log_dir
        or conf.use_syslog
        or conf.use_journal
    )


def setup(conf: cfg.ConfigOpts) -> None:
    """Set logging up as the options say; on stderr if they say nothing.

    :raises ConfigurationError: it cannot be done as they say.
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
