# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How the daemon runs on a machine: options, logs, signals, systemd.

``options`` declares them all and ``config`` reads them, here and nowhere else: the
daemon is told plain values (:class:`~gearhorn.daemon.settings.DaemonSettings`).
``running`` runs it until a signal comes, and tells systemd through ``notify``;
``daemonize`` detaches from the terminal, holds the pid file and gives up root's
rights; ``logs`` sets logging up; ``standalone`` starts a job server beside the
daemon, by way of ``child``, which ends when the daemon does.

The order at the start matters, and is that of :mod:`gearhorn.cmd.serve`: the
configuration is read, so that what is wrong is said on the terminal; then the
pid file, for which root's rights may be needed; then the user; then the log
file, which is to be the user's; then detaching, before any socket is made.

Rejected: oslo.service, which brings eventlet and forty packages; reading options
where they are used, which hides what a part depends on.
"""
