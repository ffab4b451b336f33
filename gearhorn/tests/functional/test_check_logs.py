# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout --check`` of the options of the log: what a start refuses, it names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gearhorn.service import log_files
from gearhorn.tests.functional.command import run, write

pytestmark = pytest.mark.once

FILE = """
[loggers]
keys = root, gearhorn
[handlers]
keys = terminal, file
[formatters]
keys = line
[logger_root]
level = INFO
handlers = terminal
[logger_gearhorn]
qualname = gearhorn
handlers = file
[handler_terminal]
class = StreamHandler
args = (sys.stderr,)
formatter = line
[handler_file]
class = handlers.WatchedFileHandler
level = WARNING
args = ('log',)
[formatter_line]
format = %(levelname)s %(message)s
"""


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have relative paths lead to a directory of the test."""
    monkeypatch.chdir(tmp_path)


def refused(config: Path, *lines: str) -> None:
    """Both a check and a start end with 78, and both name the first fault."""
    checked = run("--config", str(config), "--check")
    assert checked.returncode == 78, checked.stderr
    faults = [line.removeprefix("gearhorn-fanout: ") for line in checked.stderr.splitlines()]
    assert len(faults) == len(lines), faults
    for fault, line in zip(faults, lines, strict=True):
        assert fault.startswith(line)
        assert fault.endswith(f", in {config}")
    started = run("--config", str(config))
    assert started.returncode == 78
    last = started.stderr.splitlines()[-1]
    assert last == f"gearhorn-fanout: logging cannot be set up: {faults[0]}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "use_syslog = true\nsyslog_log_facility = here",
            "syslog_log_facility: here is none of LOG_USER, ",
        ),
        ("default_log_levels = gear=INFO, redis=LOUD", "default_log_levels: LOUD of redis is no"),
        ("default_log_levels = gear", "default_log_levels: nothing of gear is no level"),
        pytest.param(
            "publish_errors = true",
            "publish_errors: Python's package oslo.messaging is not installed",
            marks=pytest.mark.skipif(_is_there("oslo_messaging"), reason="it is installed"),
        ),
        pytest.param(
            "use_journal = true",
            "use_journal: Python's package systemd is not installed",
            marks=pytest.mark.skipif(_is_there("systemd"), reason="it is installed"),
        ),
        ("rate_limit_burst = x", "rate_limit_burst: "),
        ("log_rotation_type = daily", "log_rotation_type: Valid values are [interval, size, none]"),
    ],
)
def test_a_value_that_the_log_does_not_take(tmp_path: Path, text: str, told: str) -> None:
    refused(Path(write(tmp_path / "conf", f"[DEFAULT]\n{text}\n")), f"[DEFAULT] {told}")


def test_what_does_not_count_is_not_judged(tmp_path: Path) -> None:
    path = write(tmp_path / "conf", "[DEFAULT]\nsyslog_log_facility = here\n")
    assert run("--config", path, "--check").returncode == 0
    write(tmp_path / "logging", FILE)
    text = "use_syslog = true\nsyslog_log_facility = here\nlog_config_append = logging\n"
    path = write(tmp_path / "conf", f"[DEFAULT]\n{text}")
    assert run("--config", path, "--check").returncode == 0


def test_a_log_that_is_a_directory(tmp_path: Path) -> None:
    path = write(tmp_path / "conf", f"[DEFAULT]\nlog_file = {tmp_path}\n")
    checked = run("--config", path, "--check")
    assert checked.returncode == 78
    assert f"[DEFAULT] log_file: {tmp_path} is a directory, in {path}" in checked.stderr


def test_a_file_of_logging_that_is_right_and_makes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "logging", FILE)
    path = write(tmp_path / "conf", "[DEFAULT]\nlog_config_append = logging\n")
    checked = run("--config", path, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert sorted(made.name for made in tmp_path.iterdir()) == ["conf", "logging"]


def configured(path: Path) -> str:
    """What Python says of the file when logging is configured with it."""
    code = f"import logging.config; logging.config.fileConfig({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stderr


def test_what_a_file_of_logging_may_hold_beside(tmp_path: Path) -> None:
    text = """
    [DEFAULT]
    level = INFO
    [loggers]
    keys = root , gearhorn
    [handlers]
    keys = memory, terminal, none
    [formatters]
    keys = braces, own
    [logger_root]
    handlers =
    [logger_gearhorn]
    qualname = gearhorn
    propagate = 0
    handlers = memory , none
    [handler_memory]
    class = handlers.MemoryHandler
    args = (10, ERROR)
    kwargs = {'flushOnClose': False}
    target = terminal
    [handler_terminal]
    class = oslo_log.handlers.ColorHandler
    formatter = own
    [handler_none]
    class = logging.NullHandler
    level = DEBUG
    [formatter_braces]
    format = {levelname} {message}
    style = {
    [formatter_own]
    class = oslo_log.formatters.JSONFormatter
    """
    path = write(tmp_path / "logging", textwrap.dedent(text))
    assert configured(path) == ""
    assert list(log_files.faults(str(path), places=True)) == []
    write(path, path.read_text().replace("target = terminal", "target = nowhere"))
    assert configured(path).endswith("KeyError: 'nowhere'\n")
    fault = f"{path}: [handler_memory] target: there is no handler nowhere"
    assert list(log_files.faults(str(path), places=True)) == [fault]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[formatters]\nkeys = line\n", "", "[formatters]: there is no such section"),
        ("class = StreamHandler", "class = nothing.Handler", "[handler_terminal] class: No module"),
        ("args = ('log',)", "args = ()", "[handler_file] args: missing a required argument: "),
        ("args = ('log',)", "args = (nothing,)", "[handler_file] args: name 'nothing' is not"),
        ("'log'", "'/nowhere/log'", "[handler_file] args: there is no directory /nowhere"),
        ("level = WARNING", "level = LOUD", "[handler_file] level: LOUD is no level"),
        ("[loggers]", "loggers", "File contains no section headers."),
    ],
)
def test_a_file_of_logging_that_is_wrong(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in FILE
    write(tmp_path / "logging", FILE.replace(before, after).lstrip())
    path = Path(write(tmp_path / "conf", "[DEFAULT]\nlog_config_append = logging\n"))
    refused(path, f"[DEFAULT] log_config_append: logging: {told}")


def test_all_that_is_wrong_with_a_file_of_logging(tmp_path: Path) -> None:
    text = """
    [loggers]
    keys = gearhorn
    [handlers]
    keys = terminal, file
    [formatters]
    keys = line, other
    [logger_gearhorn]
    handlers = terminal
    [handler_terminal]
    class = StreamHandler
    formatter = pretty
    [handler_file]
    args = ('log',)
    [formatter_line]
    style = ?
    """
    write(tmp_path / "logging", textwrap.dedent(text))
    path = Path(write(tmp_path / "conf", "[DEFAULT]\nlog_config_append = logging\n"))
    told = (
        "[formatter_line]: Style must be one of: ",
        "[formatter_other]: there is no such section",
        "[handler_terminal] formatter: there is no formatter pretty",
        "[handler_file] class: it is missing",
        "[loggers] keys: root is missing",
        "[logger_gearhorn] qualname: it is missing",
    )
    refused(path, *(f"[DEFAULT] log_config_append: logging: {fault}" for fault in told))
