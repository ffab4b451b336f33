# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The two commands: ``gearhorn-fanout`` (``serve``) and ``gearhorn`` (``cli``).

Both turn errors into a sentence on standard error and an exit code. Neither has code
that others could use. ``serve`` puts the parts of :mod:`gearhorn.service` in order.
``cli`` speaks to daemons through the job servers only, by the daemons' public
functions, and so works wherever a client does; it does not use the store. Each of its
commands is a module. ``group`` has the options before the command, ``session`` asks
daemons and servers, ``exits`` has the exit codes, and ``output`` the tables. ``doctor``
collects ``facts``, of which ``checks`` and ``queue_checks`` make ``findings``.
"""
