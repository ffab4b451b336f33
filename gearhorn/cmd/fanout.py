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
"""``gearhorn-fanout``: the daemon."""

import asyncio
import sys
from collections.abc import Sequence

from oslo_log import log

from gearhorn import config, errors
from gearhorn.daemon import Daemon

EX_CONFIG = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon and return its exit code."""
    try:
        conf = config.load(sys.argv[1:] if arguments is None else arguments)
        settings = config.settings_of(conf)
        conf.set_default("use_stderr", True)
        log.setup(conf, config.PROJECT)

        async def run() -> None:
            await Daemon(settings).run()

        asyncio.run(run())
    except (errors.ConfigurationError, errors.StoreMisconfigured) as error:
        print(f"{config.PROGRAM}: {error}", file=sys.stderr)
        return EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
