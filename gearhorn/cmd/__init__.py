# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The two commands: ``gearhorn-fanout`` (``serve``) and ``gearhorn`` (``cli``).

Both turn errors into a sentence on standard error and an exit code, and do
nothing else that other code could use. ``serve`` puts the parts of
:mod:`gearhorn.service` in order. ``cli`` speaks to daemons through the job servers
alone, by their public functions, so that it works wherever a client does; the
store is the daemons' own. Each of its commands is a module; ``group`` has the
options before them, ``session`` asks daemons and servers, ``exits`` has the codes,
``output`` the tables. ``doctor`` collects ``facts``, of which ``checks`` and
``queue_checks`` make ``findings``.
"""
