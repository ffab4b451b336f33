# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The options of the daemon.

Their defaults are those of :class:`~gearhorn.daemon.settings.DaemonSettings`, and
are not written twice. :mod:`gearhorn.service.config` reads the values.
"""

from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from gearhorn import messages
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.messages import FunctionNames
from gearhorn.service.journal_options import JOURNAL
from gearhorn.wire.address import DEFAULT_PORT
from gearhorn.wire.connection import ConnectionSettings

_DAY = 86400.0
_MOST_JOBS = 1_000_000_000
_MOST_BYTES = 1 << 50

GEARMAN = (
    cfg.ListOpt(
        "servers",
        default=[f"127.0.0.1:{DEFAULT_PORT}"],
        help="The job servers, as host:port or host, an IPv6 address in brackets. Jobs are taken "
        "from all of them; each queue lives on one. All daemons need the same list.",
    ),
    cfg.StrOpt(
        "worker_id",
        sample_default="<the host name>",
        help="The beginning of this daemon's worker id, to which the process id and a random "
        "part are added. No white space and no control characters.",
    ),
    cfg.StrOpt(
        "tls_ca",
        mutable=True,
        help="The file of the authority that signed the certificates of the job servers. Turns "
        "TLS on; certificates and the names in them are verified.",
    ),
    cfg.StrOpt(
        "tls_cert",
        mutable=True,
        help="The file of the certificate that the job servers are shown, if they ask for one.",
    ),
    cfg.StrOpt(
        "tls_key",
        mutable=True,
        help="The file of its key, if that is not in tls_cert.",
    ),
    cfg.FloatOpt(
        "connect_timeout",
        mutable=True,
        default=ConnectionSettings.connect_timeout,
        min=0.1,
        max=_DAY,
        help="Seconds that connecting to a job server may take.",
    ),
    cfg.FloatOpt(
        "liveness_interval",
        mutable=True,
        default=ConnectionSettings.liveness_interval,
        min=0.1,
        max=_DAY,
        help="Seconds without a byte from a job server after which it is asked for an echo.",
    ),
    cfg.FloatOpt(
        "liveness_timeout",
        mutable=True,
        default=ConnectionSettings.liveness_timeout,
        min=0.1,
        max=_DAY,
        help="Seconds that a job server may take for the echo before it counts as lost.",
    ),
    cfg.FloatOpt(
        "reconnect_max",
        mutable=True,
        default=ConnectionSettings.reconnect_max,
        min=0.1,
        max=_DAY,
        help="The longest pause in seconds between two attempts to connect to a job server.",
    ),
)

FUNCTIONS = (
    cfg.StrOpt(
        "register",
        default=FunctionNames.register,
        help="The function that registers a subscriber.",
    ),
    cfg.StrOpt(
        "subscribe",
        default=FunctionNames.subscribe,
        help="The other name of the function that registers a subscriber.",
    ),
    cfg.StrOpt(
        "unregister",
        default=FunctionNames.unregister,
        help="The function that removes a subscriber.",
    ),
    cfg.StrOpt(
        "unsubscribe",
        default=FunctionNames.unsubscribe,
        help="The other name of the function that removes a subscriber.",
    ),
    cfg.StrOpt(
        "fanout",
        default=FunctionNames.fanout,
        help="The function that sends a message to all subscribers of its topic.",
    ),
    cfg.StrOpt(
        "query",
        default=FunctionNames.query,
        help="The function that tells operators of topics, subscribers and daemons.",
    ),
    cfg.StrOpt(
        "read",
        default=FunctionNames.read,
        help="The function that reads the journal of a topic.",
    ),
)

STORE = (
    cfg.StrOpt(
        "url",
        default="redis://127.0.0.1:6379/0",
        secret=True,
        help="The store of the subscriptions: redis://, rediss://, unix://, redis+sentinel://, "
        "rediss+sentinel://, redis+cluster://, rediss+cluster:// or, for the daemons of one "
        "machine, sqlite:// and an absolute path. "
        "May hold a password; write a dollar sign as $$.",
    ),
    cfg.StrOpt(
        "key_prefix",
        default=DaemonSettings.key_prefix,
        help="The beginning of every key in Redis. In a cluster it is put in braces, so that all "
        "keys are in one slot, unless some of it is already. SQLite needs none.",
    ),
    cfg.FloatOpt(
        "timeout",
        mutable=True,
        default=DaemonSettings.store_timeout,
        min=0.1,
        max=_DAY,
        help="Seconds that connecting to the store, and each answer, may take.",
    ),
    cfg.StrOpt(
        "create",
        default=DaemonSettings.create,
        choices=[
            ("first", "if no other store is known, by a running daemon or in the state directory"),
            ("never", "only an operator's word, --accept-store, makes one"),
            ("always", "whatever is known: for a Redis that is meant to forget"),
        ],
        help="When a store that is empty is made a new one, which has no subscribers yet.",
    ),
)

FANOUT = (
    cfg.FloatOpt(
        "timeout",
        mutable=True,
        default=DaemonSettings.fanout_timeout,
        min=0.001,
        max=messages.MAX_SECONDS,
        help="Seconds that a foreground fan-out waits for its receivers where the request does "
        "not say. At most max_timeout.",
    ),
    cfg.FloatOpt(
        "max_timeout",
        mutable=True,
        default=DaemonSettings.max_timeout,
        min=0.001,
        max=messages.MAX_SECONDS,
        help="The longest timeout that a request may ask for, in seconds.",
    ),
    cfg.StrOpt(
        "order",
        default=DaemonSettings.order,
        choices=[
            ("receiver", "each receiver sees messages in order; fan-outs run side by side"),
            ("topic", "the next message of a topic starts when the previous one has ended"),
        ],
        help="The order that is kept.",
    ),
    cfg.IntOpt(
        "max_in_flight",
        mutable=True,
        default=DaemonSettings.max_in_flight,
        min=1,
        max=1_000_000,
        help="The most fan-outs whose copies are on their way, or that wait for a list or a job "
        "server; further ones wait on the job servers. Of one topic as many in the foreground "
        "have copies out; its others wait in hand for their turn.",
    ),
    cfg.IntOpt(
        "max_open_fanouts",
        mutable=True,
        default=DaemonSettings.max_open_fanouts,
        min=1,
        max=100_000_000,
        help="The most fan-outs in the foreground that wait for receivers or for their turn; "
        "further ones are refused. One topic may have half of them.",
    ),
    cfg.IntOpt(
        "max_open_copies",
        mutable=True,
        default=DaemonSettings.max_open_copies,
        min=1,
        max=1_000_000_000,
        help="The most copies that these may have unanswered. One topic may have half of them.",
    ),
    cfg.IntOpt(
        "max_message_bytes",
        default=DaemonSettings.max_message_bytes,
        min=256,
        max=1 << 30,
        help="The largest request of a fan-out in bytes; larger ones are refused.",
    ),
    cfg.BoolOpt(
        "generate_unique",
        mutable=True,
        default=DaemonSettings.generate_unique,
        help="Give background copies a unique where the request has none. Persistent queues of "
        "gearmand keep one job per function of those without.",
    ),
)

MATCHMAKING = (
    cfg.StrOpt(
        "topic",
        default=DaemonSettings.matchmaking_topic,
        help="The topic whose subscribers are the daemons. All daemons need the same.",
    ),
    cfg.FloatOpt(
        "cache_ttl",
        default=Leases.cache_ttl,
        min=0.01,
        max=_DAY,
        help="Seconds for which a list of subscribers may be used. A registration waits this "
        "long, and a tenth, for a daemon that does not answer. All daemons need the same.",
    ),
    cfg.FloatOpt(
        "daemon_ttl",
        default=Leases.daemon_ttl,
        min=0.1,
        max=_DAY,
        help="Seconds without a sign of life after which a daemon's entry is removed, or up to "
        "two thirds later. More than 1.65 times cache_ttl. All daemons need the same.",
    ),
    cfg.IntOpt(
        "max_cached_topics",
        mutable=True,
        default=DaemonSettings.max_cached_topics,
        min=1,
        max=100_000_000,
        help="The most topics whose lists of subscribers are kept in memory.",
    ),
)

LIMITS = (
    cfg.IntOpt(
        "max_waiting",
        mutable=True,
        default=LimitSettings.max_waiting,
        min=0,
        max=_MOST_JOBS,
        help="The most jobs that may wait and run in the queue of one subscriber, 100 at least; 0 "
        "for any number. Copies for a full queue are not sent. A registration may bring fewer.",
    ),
    cfg.IntOpt(
        "max_waiting_bytes",
        mutable=True,
        default=LimitSettings.max_waiting_bytes,
        min=0,
        max=_MOST_BYTES,
        help="The most bytes in the queue of one subscriber, by the size of the last messages of "
        "its topic; 0 for any number.",
    ),
    cfg.IntOpt(
        "warn_waiting",
        mutable=True,
        default=LimitSettings.warn_waiting,
        min=0,
        max=_MOST_JOBS,
        help="The number of jobs in a queue from which on the log names it, once; 0 for never.",
    ),
    cfg.StrOpt(
        "overflow",
        mutable=True,
        default=LimitSettings.overflow,
        choices=[
            (messages.REFUSE, "the copy fails, with the reason queue_full"),
            (messages.SKIP, "the same, unless the topic has a journal in which to find it"),
        ],
        help="What becomes of a copy for a full queue. A registration may say otherwise.",
    ),
    cfg.IntOpt(
        "max_total",
        mutable=True,
        default=LimitSettings.max_total,
        min=0,
        max=_MOST_JOBS,
        help="The most jobs in all functions of one job server. Above it, queues that are deeper "
        "than the mean count as full; 0 for any number.",
    ),
    cfg.IntOpt(
        "max_total_bytes",
        mutable=True,
        default=LimitSettings.max_total_bytes,
        min=0,
        max=_MOST_BYTES,
        help="The most bytes in all queues of one job server, with the same effect; 0 for any "
        "number.",
    ),
    cfg.FloatOpt(
        "remove_idle",
        mutable=True,
        default=LimitSettings.remove_idle,
        min=0,
        max=messages.MAX_SECONDS,
        help="Seconds after which a subscription ends while messages wait in its queue and no "
        "worker serves it, 60 at least; 0 for never. A registration may say otherwise.",
    ),
    cfg.FloatOpt(
        "discard_after",
        mutable=True,
        default=LimitSettings.discard_after,
        min=0,
        max=messages.MAX_SECONDS,
        help="Seconds after the end of a subscription from which on what it left in its queue is "
        "discarded, if no worker serves that: 60, and twice cache_ttl, at least; 0 for never.",
    ),
)

SERVICE = (
    cfg.BoolOpt(
        "daemonize",
        default=False,
        help="Detach from the terminal and run in the background. Not for systemd and containers.",
    ),
    cfg.StrOpt(
        "pidfile",
        help="The file that holds the process id while the daemon runs, and keeps a second "
        "one from starting.",
    ),
    cfg.StrOpt(
        "user",
        help="The user, by name or number, that the daemon becomes when it is started as root.",
    ),
    cfg.StrOpt(
        "group",
        sample_default="<the group of the user>",
        help="The group, by name or number, that the daemon becomes when it is started as root.",
    ),
    cfg.FloatOpt(
        "drain_timeout",
        mutable=True,
        default=DaemonSettings.drain_timeout,
        min=0,
        max=_DAY,
        help="Seconds that the jobs in hand get to end in when the daemon is stopped. The stop "
        "timeout of the service manager must be longer.",
    ),
    cfg.StrOpt(
        "state_dir",
        sample_default="<STATE_DIRECTORY, which systemd sets>",
        help="The directory in which this machine remembers which store it uses, so that a daemon "
        "that starts knows another one from it. Without one only running daemons know.",
    ),
)

STANDALONE = (
    cfg.PortOpt(
        "port",
        default=DEFAULT_PORT,
        min=1,
        help="The port on 127.0.0.1 of the job server that --standalone starts.",
    ),
    cfg.StrOpt(
        "directory",
        sample_default="~/.local/state/gearhorn",
        help="The directory of the store of --standalone. The default honours XDG_STATE_HOME.",
    ),
)

HTTP = (
    cfg.StrOpt(
        "listen",
        mutable=True,
        sample_default="127.0.0.1:9419",
        help="Serve probes, metrics and a page for people over HTTP on this address: "
        "127.0.0.1:PORT, [::1]:PORT or unix:PATH. Whoever reaches it sees topics, names and "
        "options without secrets. Unless given, nothing is served.",
    ),
    cfg.FloatOpt(
        "queue_interval",
        mutable=True,
        min=1,
        max=_DAY,
        help="Seconds between two samples of all queues on all job servers, for the metrics and "
        "the page: how many wait, who reads them, which topics have most. Set it in one of the "
        "daemons only, which samples for all. Unless given, nothing is sampled.",
    ),
    cfg.IntOpt(
        "top_topics",
        mutable=True,
        default=DaemonSettings.top_topics,
        min=1,
        max=100,
        help="The most topics that are shown by name: those with most messages waiting.",
    ),
)

GROUPS: dict[cfg.OptGroup, Sequence[cfg.Opt]] = {
    cfg.OptGroup("gearman", help="The job servers."): GEARMAN,
    cfg.OptGroup("functions", help="The names of the daemon's functions."): FUNCTIONS,
    cfg.OptGroup("store", help="The store of the subscriptions."): STORE,
    cfg.OptGroup("fanout", help="The sending of messages."): FANOUT,
    cfg.OptGroup("matchmaking", help="The matchmaking among daemons."): MATCHMAKING,
    cfg.OptGroup("limits", help="What may wait on the job servers."): LIMITS,
    cfg.OptGroup("journal", help="Journals: messages kept for those who come late."): JOURNAL,
    cfg.OptGroup("service", help="The daemon as a service."): SERVICE,
    cfg.OptGroup("http", help="Probes, metrics and a page over HTTP."): HTTP,
    cfg.OptGroup("standalone", help="The job server and the store of --standalone."): STANDALONE,
}


class _Choice(cfg.StrOpt):
    """An option of the command line of which another value makes that wrong.

    oslo.config would take it for a wrong configuration.
    """

    def _get_argparse_kwargs(self, group: Any, **kwargs: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._get_argparse_kwargs(group, **kwargs)
        kind: Any = self.type
        return {**arguments, "choices": list(kind.choices)}


class _WithoutValue(_Choice):
    """An option of the command line whose value may be left out."""

    def _get_argparse_kwargs(self, group: Any, **kwargs: Any) -> dict[str, Any]:
        arguments = super()._get_argparse_kwargs(group, **kwargs)
        return {**arguments, "nargs": "?", "const": FILES}


FILES, CONNECT = "files", "connect"
"""What ``--check`` may look at."""

COMMAND_LINE = (
    cfg.BoolOpt(
        "standalone",
        # Without this its name would be that of the group.
        dest="standalone_mode",
        default=False,
        help="Start a job server and use a store of its own, so that nothing else need run.",
    ),
    cfg.BoolOpt(
        "accept-store",
        default=False,
        help="Accept the store as it is, emptied or another one, for all daemons that wait, "
        "say what was done, and end.",
    ),
    cfg.MultiStrOpt(
        "despite",
        default=[],
        metavar="STORE",
        help="Accept it although job servers still list a daemon of this store, whose host is "
        "gone. May be given several times.",
    ),
    cfg.BoolOpt(
        "adopt-journals",
        default=False,
        help="Make [journal] topics of this configuration those of all daemons, say what was "
        "done, and end.",
    ),
    _Choice(
        "probe",
        choices=["live", "ready"],
        help="Ask the daemon that listens on [http] listen how it is, say it, and end with 0 or 1.",
    ),
    _WithoutValue(
        "check",
        choices=[FILES, CONNECT],
        metavar="WHAT",
        help="Say everything that is wrong with the configuration, and end with 0 or 78. "
        "--check=connect tries the store and the job servers as well.",
    ),
    # For --help only: it becomes --config-file before the command line is parsed.
    cfg.StrOpt("config", metavar="PATH", help="The same as --config-file."),
)

WORDS = ("accept-store", "adopt-journals", "probe", "check")
"""The options with which no daemon is started: one at a time."""
