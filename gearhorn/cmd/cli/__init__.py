# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn``: publish, listen, look and mend from a shell.

Each command is in a module of that name; ``registrations`` and ``show`` have three
each, ``journals`` has ``read`` too, and ``transfer`` has ``export`` and ``import``.
``starts`` is an option of two of them. ``group`` has the options before the command and
makes the ``Session`` from them, which asks daemons and job servers. ``input`` reads files,
``output`` prints tables or JSON, and ``exits`` turns errors into exit codes. ``doctor``
collects ``facts`` first, from which ``checks``, ``queue_checks`` and their like make
``findings``. ``top`` compares looks (``top_look``) and shows them on a ``top_screen``.

Invariants:

* Standard output has what was asked for, and nothing else; all else goes to standard
  error. With ``--format json`` each answer and each error is one JSON document.
* Names and payloads come from strangers: on a terminal no text of theirs moves the
  cursor.
* The checks of ``doctor`` do no I/O. A test can make any facts for them.

Rejected: reading the daemon's configuration or the store (an operator's machine may
have access to neither).
"""

from gearhorn.cmd.cli import (
    dead,
    doctor,
    journals,
    listen,
    publish,
    purge,
    registrations,
    show,
    top,
    transfer,
)
from gearhorn.cmd.cli.group import gearhorn

for _module in (publish, listen, registrations, show, journals, dead, purge, doctor, top, transfer):
    for _command in _module.COMMANDS:
        gearhorn.add_command(_command)

main = gearhorn

__all__ = ["gearhorn", "main"]
