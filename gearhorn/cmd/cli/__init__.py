# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn``: publish, listen, look and mend from a shell."""

from gearhorn.cmd.cli import doctor, listen, publish, purge, registrations, show
from gearhorn.cmd.cli.group import gearhorn

for _module in (publish, listen, registrations, show, purge, doctor):
    for _command in _module.COMMANDS:
        gearhorn.add_command(_command)

main = gearhorn

__all__ = ["gearhorn", "main"]
