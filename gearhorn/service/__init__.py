# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon as a service on a machine: options, logs, signals, systemd.

``options`` declares all options, and ``config`` alone reads them: the daemon gets
plain values (:class:`~gearhorn.daemon.settings.DaemonSettings`). ``running`` runs the
daemon until a signal comes, and tells systemd through ``notify``. ``daemonize``
detaches from the terminal, holds the pid file and gives up root's rights. ``logs``
sets logging up. ``checking`` finds every fault of the files (``config_files``), with those of
the log (``log_faults``, ``log_files``). At SIGHUP
``reload`` compares the options with those in force, and hands the daemon other settings
(:meth:`~gearhorn.daemon.daemon.Daemon.apply`). ``states`` tells systemd how it is, and
``report`` writes what the live process holds. ``standalone`` starts a job server beside
the daemon, by way of ``child``, which ends when the daemon does.

``switch`` turns HTTP on and off. ``showing`` serves it where ``listening`` says: ``http``
is the server, and ``site`` what it shows, of ``health``, ``exposition`` (metrics) and
``page``; ``watching`` looks at the loop and the log for it. ``advice`` has the words that
``health`` shares with ``gearhorn doctor``. ``probe`` is its client for images without curl.

The order at the start matters. :mod:`gearhorn.cmd.serve` reads the configuration
first, and reports errors on the terminal. Then come the pid file, which may need
root's rights; the user; the log file, which is to belong to the user; and detaching,
before any socket is made.

Invariants:

* Signals are acted on in the loop, and never in the middle of a step. A second one
  ends the process at once.
* HTTP is served by the loop itself, within bounds, and changes nothing. Without ``[http]
  listen`` none of it is imported, and nothing is watched.
* A wrong configuration ends the process before it has taken a job, with the name of
  the option; at SIGHUP it changes nothing, and no half of a change is ever in force.
* Nothing that is left behind does harm: a pid file that no process holds is replaced,
  and the job server of the standalone mode ends with the daemon, however that ends.

Rejected: oslo.service, which brings eventlet and forty packages; reading options
where they are used, which hides the dependencies of a part.
"""
