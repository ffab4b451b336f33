# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The options, and what is refused of them."""

from __future__ import annotations

import importlib.metadata
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg, types

from gearhorn import errors
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service import checking, config, reload
from gearhorn.service.options import GROUPS
from gearhorn.wire.address import Address

_ROOT = Path(__file__).parents[3]
_OPTIONS = [
    pytest.param(option, id=f"{group.name}.{option.name}")
    for group, options in GROUPS.items()
    for option in options
]


def _load(tmp_path: Path, text: str, *arguments: str) -> cfg.ConfigOpts:
    path = tmp_path / "gearhorn.conf"
    path.write_text(text)
    return config.load(["--config-file", str(path), *arguments])


def _settings(tmp_path: Path, text: str) -> DaemonSettings:
    return config.settings_of(_load(tmp_path, text))


@pytest.mark.parametrize("option", _OPTIONS)
def test_every_option_has_help_and_every_number_bounds(option: Any) -> None:
    assert option.help.endswith(".")
    if isinstance(option.type, types.Number):
        assert option.type.min is not None
        assert option.type.max is not None


def test_queues_are_sampled_only_where_that_is_shown(tmp_path: Path) -> None:
    sampling = "[http]\nqueue_interval = 15\ntop_topics = 5\n"
    assert _settings(tmp_path, sampling).queue_interval is None
    settings = _settings(tmp_path, sampling + "listen = 127.0.0.1:9419\n")
    assert (settings.queue_interval, settings.top_topics) == (15, 5)
    assert _settings(tmp_path, "[http]\nlisten = 127.0.0.1:9419\n").queue_interval is None


def test_every_group_has_help() -> None:
    assert all(group.help for group in GROUPS)


def test_the_options_are_found_by_the_generator() -> None:
    (entry_point,) = importlib.metadata.entry_points(group="oslo.config.opts", name="gearhorn")
    assert [(group, tuple(options)) for group, options in entry_point.load()()] == [
        (group, tuple(options)) for group, options in GROUPS.items()
    ]


def test_the_sample_is_a_configuration_and_names_nothing_of_a_machine(tmp_path: Path) -> None:
    text = (_ROOT / "etc" / "gearhorn.conf.sample").read_text()
    for name in (socket.gethostname(), str(Path.home()), str(_ROOT)):
        assert f" {name}\n" not in text
        assert f"{name}/" not in text
    # With each default as if it had been typed, but those that stand for none.
    typed = "".join(
        line.removeprefix("#") + "\n"
        for line in text.partition("[fanout]")[2].splitlines()
        if not line.startswith("# ") and "<" not in line
    )
    assert _settings(tmp_path, "[fanout]" + typed) == _settings(tmp_path, "")


def test_the_defaults_are_those_of_the_daemon(tmp_path: Path) -> None:
    assert _settings(tmp_path, "") == DaemonSettings(
        servers=(Address("127.0.0.1", 4730),), store_url="redis://127.0.0.1:6379/0"
    )


def test_every_option_reaches_the_daemon(tmp_path: Path) -> None:
    settings = _settings(
        tmp_path,
        """
[gearman]
servers = one, [::1]:5000
worker_id = here
liveness_interval = 3
[functions]
fanout = send
[store]
url = sqlite:///some/where
key_prefix = x:
timeout = 2
[fanout]
timeout = 4
order = topic
max_timeout = 5
max_in_flight = 6
max_open_fanouts = 60
max_open_copies = 600
max_message_bytes = 7000
generate_unique = false
[matchmaking]
topic = mm
cache_ttl = 1
daemon_ttl = 8
max_cached_topics = 9
[limits]
max_waiting = 100
max_waiting_bytes = 2
warn_waiting = 3
overflow = skip
max_total = 4
max_total_bytes = 0
remove_idle = 60
discard_after = 70.5
[journal]
topics = a.*, b?max_messages=1&max_age=0
max_messages = 2
max_bytes = 3
max_age = 4
max_message_bytes = 5
max_topics = 6
flush_interval = 0.5
id_window = 7
url = sqlite:///else/where
[service]
drain_timeout = 0
""",
    )
    assert settings.servers == (Address("one", 4730), Address("::1", 5000))
    assert settings.worker_name == "here"
    assert settings.wire.liveness_interval == 3
    assert settings.functions.fanout == "send"
    assert settings.functions.register == "register_fanout_subscriber"
    assert (settings.store_url, settings.key_prefix, settings.store_timeout) == (
        "sqlite:///some/where",
        "x:",
        2,
    )
    assert (settings.fanout_timeout, settings.order, settings.max_in_flight) == (4, "topic", 6)
    assert (settings.max_timeout, settings.max_open_fanouts) == (5, 60)
    assert settings.max_open_copies == 600
    assert (settings.max_message_bytes, settings.generate_unique) == (7000, False)
    assert (settings.matchmaking_topic, settings.leases) == ("mm", Leases(1, 8))
    assert (settings.max_cached_topics, settings.drain_timeout) == (9, 0)
    assert settings.limits == LimitSettings(100, 2, 3, "skip", 4, 0, 60, 70.5)
    topics = ("a.*", "b?max_messages=1&max_age=0")
    url = "sqlite:///else/where"
    assert settings.journal == JournalSettings(topics, 2, 3, 4, 5, 6, 0.5, 7, url)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gearman]\nservers =", "[gearman] servers: name at least one"),
        ("[gearman]\nservers = here:port", "[gearman] servers: 'here:port' is no"),
        ("[gearman]\nworker_id = a b", "[gearman] worker_id: 'a b' holds white space"),
        ("[gearman]\nworker_id = a\x01", "[gearman] worker_id: "),
        (f"[gearman]\nworker_id = {'a' * 490}", "[gearman] worker_id: "),
        ("[gearman]\ntls_ca = /nowhere", "[gearman] tls_ca, tls_cert, tls_key: "),
        ("[gearman]\ntls_cert = /nowhere", "[gearman] tls_ca, tls_cert, tls_key: "),
        ("[gearman]\nconnect_timeout = 0", "[gearman] connect_timeout: "),
        ("[functions]\nfanout =", "[functions] fanout: the name must not be empty"),
        ("[functions]\nfanout = a b", "[functions] fanout: 'a b' holds white space"),
        ("[functions]\nfanout = a\x01", "[functions] fanout: "),
        (f"[functions]\nfanout = {'a' * 600}", "[functions] fanout: "),
        ("[functions]\nregister = fanout", "the name of [functions]"),
        ("[functions]\nfanout = __matchmaking_x", "begins with '__matchmaking_'"),
        ("[matchmaking]\ntopic =", "[matchmaking] topic: "),
        ("[matchmaking]\ntopic = m m", "[matchmaking] topic: "),
        ("[matchmaking]\ncache_ttl = 40", "[matchmaking] daemon_ttl: 60 is not above"),
        ("[matchmaking]\ndaemon_ttl = 16.5", "[matchmaking] daemon_ttl: 16.5 is not above"),
        ("[fanout]\ntimeout = nan", "[fanout] timeout: nan is no number"),
        ("[fanout]\ntimeout = long", "[fanout] timeout: "),
        ("[fanout]\ntimeout = 3601", "[fanout] timeout: 3601 is above max_timeout, 3600"),
        ("[fanout]\nmax_timeout = 59", "[fanout] timeout: 60 is above max_timeout, 59"),
        ("[fanout]\nmax_open_fanouts = 0", "[fanout] max_open_fanouts: Should be greater"),
        ("[fanout]\nmax_open_copies = 0", "[fanout] max_open_copies: Should be greater"),
        ("[fanout]\norder = other", "[fanout] order: Valid values are"),
        ("[fanout]\nmax_in_flight = 0", "[fanout] max_in_flight: Should be greater"),
        ("[limits]\nmax_waiting = 99", "[limits] max_waiting: 99 is neither 0 nor at least 100"),
        ("[limits]\nmax_waiting = -1", "[limits] max_waiting: Should be greater"),
        ("[limits]\nremove_idle = 59", "[limits] remove_idle: 59 is neither 0 nor at least 60"),
        ("[limits]\ndiscard_after = 0.1", "[limits] discard_after: 0.1 is neither 0 nor"),
        (
            "[limits]\ndiscard_after = 60\n[matchmaking]\ncache_ttl = 31",
            "[limits] discard_after: 60 is below twice [matchmaking] cache_ttl, 31",
        ),
        ("[limits]\noverflow = drop", "[limits] overflow: Valid values are"),
        ("[journal]\ntopics = a?max_size=1", "[journal] topics: 'a?max_size=1': 'max_size' is no"),
        ("[journal]\ntopics = ?max_age=1", "[journal] topics: '?max_age=1' has no pattern"),
        ("[journal]\ntopics = a?max_messages=0", "'0' is no whole number from 1 to"),
        ("[journal]\ntopics = a?max_age=nan", "'nan' is no number of seconds"),
        ("[journal]\ntopics = a?max_age=1&max_age=2", "'a?max_age=1&max_age=2' has max_age twice"),
        ("[journal]\nflush_interval = 1.1", "[journal] flush_interval: Should be less"),
        ("[journal]\nurl = ftp://here", "[journal] url: the URL of the store"),
        ("[store]\nurl = redis://:pa$word@here", "[store] url: write a dollar sign as $$"),
        ("[store]\nurl = ftp://:pass-word@here", "[store] url: the URL of the store"),
        ("[standalone]\nport = 0", "[standalone] port: "),
        ("[fanout]\ntimeuot = 3", "[fanout] timeuot: there is no such option"),
        ("[fan-out]\ntimeout = 3", "[fan-out]: there is no such group"),
        ("timeout = 3", "Failed to parse"),
    ],
)
def test_what_cannot_work_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        _settings(tmp_path, text)
    told = str(caught.value)
    assert message in told
    assert "\n" not in told
    assert "LocationInfo" not in told
    assert "word" not in told
    # --check and SIGHUP say the same, and in which file.
    (fault,) = checking.faults(["--config-file", str(tmp_path / "gearhorn.conf")])
    assert message in fault
    assert str(tmp_path / "gearhorn.conf") in fault
    assert "LocationInfo" not in fault
    assert "word" not in fault


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.conf", tmp_path / "two.conf"
    one.write_text("[fanout]\norder = any\ntimeuot = 3\n[limits]\nmax_waiting = 3\n")
    two.write_text("[fan-out]\n[gearman]\nservers = here:port\ntls_cert = /nowhere\n")
    assert checking.faults(["--config", str(one), "--config", str(two)]) == [
        f"[fanout] timeuot: there is no such option, in {one}",
        f"[fan-out]: there is no such group, in {two}",
        f"[fanout] order: Valid values are [receiver, topic], but found 'any', in {one}",
        "[gearman] servers: 'here:port' is no job server address: write host:port, with an IPv6 "
        f"address in brackets, and commas between several, in {two}",
        "[gearman] tls_ca, tls_cert, tls_key: tls_cert and tls_key need tls_ca, the authority that "
        f"servers are checked against, in {two}",
        f"[limits] max_waiting: 3 is neither 0 nor at least 100, in {one}",
    ]


def test_all_faults_of_one_group_are_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gearhorn.conf"
    path.write_text(
        "[functions]\nregister = fanout\nquery = a b\n"
        "[journal]\ntopics = a*?max_age=x, b*, ?max_age=1\nmax_messages = many\n"
        "[limits]\nmax_waiting = 50\nremove_idle = 3\ndiscard_after = 10\nwarn_waiting = some\n"
        "[gearman]\nworker_id = a b\n"
        "[matchmaking]\ntopic = c d\n"
    )
    found = checking.faults(["--config", str(path)])
    begin = [fault.partition(": ")[0] for fault in found]
    assert sorted(begin) == sorted(
        [
            "[functions] fanout",
            "[functions] query",
            "[journal] max_messages",
            "[journal] topics",
            "[journal] topics",
            "[limits] warn_waiting",
            "[limits] max_waiting",
            "[limits] remove_idle",
            "[limits] discard_after",
            "[gearman] worker_id",
            "[matchmaking] topic",
        ]
    ), found
    assert all(fault.endswith(f", in {path}") for fault in found)
    assert f"[journal] max_messages: 'many' is no number, in {path}" in found
    assert f"[limits] warn_waiting: 'some' is no number, in {path}" in found


def test_a_file_has_one_name_for_all_of_its_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.conf").write_text("[limits]\nmax_waiting = 3\nwarn_waiting = 1.5x\n")
    assert checking.faults(["--config", "x.conf"]) == [
        "[limits] warn_waiting: '1.5x' is no number, in x.conf",
        "[limits] max_waiting: 3 is neither 0 nor at least 100, in x.conf",
    ]


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    latin, open_ended, missing = (tmp_path / name for name in ("1.conf", "2.conf", "3.conf"))
    latin.write_bytes(b"# caf\xe9\n")
    open_ended.write_text("[gearman\n")
    paths = [argument for path in (latin, open_ended, missing) for argument in ("--config", path)]
    first, second, third = checking.faults(list(map(str, paths)))
    assert first.startswith(f"{latin} is not UTF-8: ")
    assert second.startswith(f"Failed to parse {open_ended}:1, Invalid section")
    assert third == f"{missing} cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("debug = maybe", "maybe"),
        ("log_config_append = /nowhere", "[DEFAULT] log_config_append: /nowhere cannot be read"),
        ("[service]\nuser = no-such-user", "[service] user: there is no user 'no-such-user'"),
        ("[http]\nlisten = here", "[http] listen: 'here' is no address"),
    ],
)
def test_what_else_is_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gearhorn.conf"
    path.write_text(text if text.startswith("[") else f"[DEFAULT]\n{text}")
    (fault,) = checking.faults(["--config-file", str(path)])
    assert message in fault


def test_options_of_the_log_and_of_one_reading_stay_its_own(tmp_path: Path) -> None:
    before, now = _load(tmp_path, ""), _load(tmp_path, "[DEFAULT]\ndebug = true")
    before.set_override("fanout", "send", "functions")
    assert now.functions.fanout == "fanout"
    assert list(map(str, reload.changes(before, now))) == ["[functions] fanout = fanout (was send)"]
    changed = [str(one) for one in reload.changes_of_log(before, now)]
    assert changed == ["[DEFAULT] debug = True (was False)"]


def test_what_can_change_while_it_runs_reaches_a_running_daemon() -> None:
    # Names, the store, and what all daemons have to agree on, stay until a restart.
    fixed = {
        f"{group.name}.{option.name}"
        for group, options in GROUPS.items()
        for option in options
        if not option.mutable
    }
    assert {"gearman.servers", "store.url", "matchmaking.cache_ttl", "fanout.order"} <= fixed
    assert not {name for name in fixed if name.startswith(("limits.", "http."))}
    journals = {name for name in fixed if name.startswith("journal.")}
    assert journals == {"journal.topics", "journal.url"}


def test_a_list_that_just_may_be_cached_is_accepted(tmp_path: Path) -> None:
    assert _settings(tmp_path, "[matchmaking]\ndaemon_ttl = 16.6").leases.daemon_ttl == 16.6


def test_config_is_another_name_of_config_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("[fanout]\ntimeout = 1\nmax_in_flight = 1\n")
    two.write_text("[fanout]\ntimeout = 2\n")
    settings = config.settings_of(config.load(["--config", str(one), f"--config={two}"]))
    assert (settings.fanout_timeout, settings.max_in_flight) == (2, 1)


def test_the_usual_places_are_searched_but_for_standalone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "gearhorn.conf").write_text("[fanout]\ntimeout = 11\n")
    assert config.load([]).fanout.timeout == 11
    assert config.load(["--standalone"]).fanout.timeout == DaemonSettings.fanout_timeout


def test_the_url_of_the_store_is_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    conf = _load(tmp_path, "[store]\nurl = redis://:pass@here\n")
    with caplog.at_level(logging.DEBUG):
        conf.log_opt_values(logging.getLogger(), logging.DEBUG)
    assert "store.url" in caplog.text
    assert "pass@" not in caplog.text


@pytest.mark.parametrize("directory", [False, True])
def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path, directory: bool) -> None:
    (tmp_path / "a.conf").write_text("")
    path = tmp_path / "b.conf"
    path.write_bytes(b"# caf\xe9\n")
    named = ["--config-dir", str(tmp_path)] if directory else ["--config-file", str(path)]
    with pytest.raises(errors.ConfigurationError, match=rf"^{path} is not UTF-8: "):
        config.load(named)


def test_a_store_is_accepted_by_a_word_that_is_written_out(tmp_path: Path) -> None:
    assert _load(tmp_path, "", "--accept-store", "--despite", "1a2b3c4d").accept_store
    for wrong in (["--despite", "1a2b3c4d"], ["--accept-store", "--despite", "zz"]):
        with pytest.raises(errors.ConfigurationError, match=r"^--despite"):
            _load(tmp_path, "", *wrong)
    with pytest.raises(SystemExit):
        _load(tmp_path, "", "--accept")
