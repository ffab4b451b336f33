# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout --check`` of the options of the log: what a start refuses, it names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

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


def refused(config: Path, told: str) -> str:
    """Both a check and a start end with 78, and name the same fault, which is returned."""
    checked = run("--config", str(config), "--check")
    assert checked.returncode == 78, checked.stderr
    (line,) = checked.stderr.splitlines()
    fault = line.removeprefix("gearhorn-fanout: ")
    assert fault.startswith(told)
    assert fault.endswith(f", in {config}")
    started = run("--config", str(config))
    assert started.returncode == 78
    last = started.stderr.splitlines()[-1]
    assert last == f"gearhorn-fanout: logging cannot be set up: {fault}"
    return fault


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


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[formatters]\nkeys = line\n", "", "'formatters'"),
        ("class = StreamHandler", "class = nothing.Handler", "No module named 'nothing'"),
        ("args = ('log',)", "args = ()", "missing 1 required positional argument: 'filename'"),
        ("args = ('log',)", "args = (nothing,)", "name 'nothing' is not defined"),
        ("'log'", "'/nowhere/log'", "OSError: there is no directory /nowhere"),
        ("'log'", "'/tmp'", "OSError: /tmp is a directory"),
        ("level = WARNING", "level = LOUD", "ValueError: Unknown level: 'LOUD'"),
    ],
)
def test_a_file_of_logging_that_is_wrong(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    assert before in FILE
    write(tmp_path / "logging", FILE.replace(before, after).lstrip())
    path = Path(write(tmp_path / "conf", "[DEFAULT]\nlog_config_append = logging\n"))
    said = refused(path, "[DEFAULT] log_config_append: logging: ")
    assert told in said


def test_a_file_of_logging_that_is_not_there(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "conf", "[DEFAULT]\nlog_config_append = logging\n"))
    told = "logging cannot be read: No such file or directory"
    refused(path, f"[DEFAULT] log_config_append: {told}")
