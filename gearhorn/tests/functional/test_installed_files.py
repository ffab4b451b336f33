# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the wheel brings beside the package: the user, directories, completion, the unit."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gearhorn
from gearhorn.cmd.cli import gearhorn as command
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.options import COMMAND_LINE
from gearhorn.tests.terminal import Terminal

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
ETC = ROOT / "etc"
UNIT = ETC / "gearhorn-fanout.service"


def execute(*arguments: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def data_files() -> dict[str, list[str]]:
    """What the wheel brings, by its place below the prefix."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found: dict[str, list[str]] = {}
    place = ""
    for line in setup["files"]["data_files"].strip().splitlines():
        before, equals, after = line.partition("=")
        if equals:
            place = before.strip()
        found.setdefault(place, []).extend((after if equals else line).split())
    return found


def test_each_file_of_the_wheel_is_there_and_described() -> None:
    page = (ROOT / "doc/source/howto/service.rst").read_text()
    files = data_files()
    assert len(files) > 7
    for place, sources in files.items():
        for source in sources:
            assert (ROOT / source).is_file(), source
        named = (f"/opt/gearhorn/{place}", f"/opt/gearhorn/{place}/{Path(sources[0]).name}", place)
        assert any(f"``{name}``" in page for name in named), place


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="there is no systemd here")
def test_the_user_and_the_directory_are_made(tmp_path: Path) -> None:
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/gearhorn.conf").touch(0o644)

    execute("systemd-sysusers", f"--root={tmp_path}", ETC / "sysusers.d/gearhorn.conf")
    if os.geteuid() == 0:
        tmpfiles = ETC / "tmpfiles.d/gearhorn.conf"
        execute("systemd-tmpfiles", "--create", f"--root={tmp_path}", tmpfiles)

    (line,) = re.findall("^gearhorn:.*$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    _, _, uid, gid, _, home, shell = line.split(":")
    assert 0 < int(uid) < 1000
    assert home == "/var/lib/gearhorn"
    assert shell.endswith("nologin")
    if os.geteuid() == 0:
        made = (tmp_path / "run/gearhorn").stat()
        assert (made.st_uid, made.st_gid) == (int(uid), int(gid))
        secret = (tmp_path / "etc/gearhorn.conf").stat()
        assert (secret.st_mode & 0o777, secret.st_uid, secret.st_gid) == (0o640, 0, int(gid))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_the_unit_is_as_closed_as_the_page_says() -> None:
    page = " ".join((ROOT / "doc/source/howto/service.rst").read_text().split())
    (stated,) = re.findall(r"gives the unit ([\d.]+) of 10", page)
    said = execute("systemd-analyze", "security", "--offline=true", UNIT)
    (score,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    # Later releases of systemd weigh more.
    assert float(stated) - 0.3 <= float(score) <= float(stated) + 0.3


def test_the_unit_reloads_and_has_time_to_drain() -> None:
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    # Of the first, which every systemd knows, the second takes the place where it is known.
    types = [line.partition("=")[2] for line in lines if line.startswith("Type=")]
    assert types == ["notify", "notify-reload"]
    assert "ExecReload=kill -HUP $MAINPID" in lines
    (stop_s,) = [line.partition("=")[2] for line in lines if line.startswith("TimeoutStopSec=")]
    assert float(stop_s) > DaemonSettings(servers=(), store_url="").drain_timeout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The command is looked for where systemd looks.
    unit.write_text(UNIT.read_text().replace("ExecStart=gearhorn-fanout ", "ExecStart=/bin/true "))
    said = execute("systemd-analyze", "verify", "--man=no", unit)
    # Before 253.
    known = "Failed to parse service type, ignoring: notify-reload"
    ours = [line for line in said.splitlines() if line.startswith(str(unit))]
    assert [line for line in ours if known not in line] == []


# Completion.

COMPLETE = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$(($# - 2))
compopt() { printf '%s\\n' "$*"; }
"_${2/-/_}_completion" "$2"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["gearhorn", "exp"], ["export"]),
        (["gearhorn", "purge", "--e"], ["--ended"]),
        (["gearhorn", "doctor", "--format", ""], ["table", "json", "nagios"]),
        (["gearhorn-fanout", "--a"], ["--accept-store", "--adopt-journals"]),
        (["gearhorn-fanout", "--debug", "--probe", "re"], ["ready"]),
        (["gearhorn-fanout", "--probe", "="], ["live", "ready"]),
        (["gearhorn-fanout", "--check", "=", "con"], ["connect"]),
        (["gearhorn-fanout", "--check", "="], ["files", "connect"]),
        (["gearhorn-fanout", "--check", "--config-f"], ["--config-file"]),
        (["gearhorn-fanout", "--config", "/etc"], ["-o", "default"]),
        (["gearhorn-fanout", "--log-dir", "=", "/etc"], ["-o", "dirnames"]),
        (["gearhorn-fanout", "--despite", ""], []),
    ],
)
def test_bash_completes_commands_and_options(
    path: str, words: list[str], wanted: list[str]
) -> None:
    file = ETC / "completions" / words[0]
    said = execute("bash", "-c", COMPLETE, "bash", file, *words, PATH=path)

    assert said.split() == wanted


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path with the command."""
    script = tmp_path / "gearhorn"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gearhorn.cmd.cli "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("gearhorn exp", "export\tWrite all subscriptions to standard output."),
        ("gearhorn purge --e", "--ended\tRemove the names of the queues"),
        ("gearhorn doctor --format na", "nagios"),
        ("gearhorn-fanout --acc", "--accept-store\tAccept the store as it is, and end"),
        ("gearhorn-fanout --debug --probe re", "ready"),
        ("gearhorn-fanout --check=con", "--check=connect"),
    ],
)
def test_fish_completes_commands_and_options(
    tmp_path: Path, path: str, words: str, wanted: str
) -> None:
    file = ETC / f"completions/{words.partition(' ')[0]}.fish"
    script = f'source "{file}"; complete -C "{words}"'
    said = execute("fish", "--no-config", "-c", script, PATH=path, HOME=str(tmp_path))
    (line,) = said.splitlines()
    assert line.startswith(wanted)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(
    "load",
    [
        f'fpath=("{ETC}/completions" $fpath); autoload -Uz compinit; compinit -u -D',
        f'autoload -Uz compinit; compinit -u -D; source "{ETC}/completions/_gearhorn"; '
        f'source "{ETC}/completions/_gearhorn-fanout"',
    ],
    ids=["from fpath", "sourced"],
)
def test_zsh_completes_commands_and_options(tmp_path: Path, path: str, load: str) -> None:
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}
    with Terminal(["zsh", "-f", "-i"], environment) as zsh:
        zsh.write(f"{load}; echo rea''dy\n")
        zsh.until("ready")
        # More than once, as the first time is another for a function that is loaded by its name.
        for words, wanted in (
            ("gearhorn exp", "gearhorn export"),
            ("gearhorn purge --e", "gearhorn purge --ended"),
            ("gearhorn doctor --format na", "gearhorn doctor --format nagios"),
            ("gearhorn-fanout --acc", "gearhorn-fanout --accept-store"),
            ("gearhorn-fanout --debug --probe re", "gearhorn-fanout --debug --probe ready"),
            ("gearhorn-fanout --check=con", "gearhorn-fanout --check=connect"),
        ):
            zsh.write(f"{words}\t")
            zsh.until(wanted)
            # Ctrl-U empties the line.
            zsh.write("\x15")


@pytest.mark.parametrize("name", ["gearhorn", "_gearhorn", "gearhorn.fish"])
def test_each_completion_asks_the_command(name: str) -> None:
    assert command.name == "gearhorn"
    shell = {"gearhorn": "bash", "_gearhorn": "zsh", "gearhorn.fish": "fish"}[name]
    assert f"_GEARHORN_COMPLETE={shell}_complete" in (ETC / "completions" / name).read_text()


@pytest.mark.parametrize("name", ["gearhorn-fanout", "_gearhorn-fanout", "gearhorn-fanout.fish"])
def test_each_completion_of_the_daemon_has_the_options_that_it_takes(name: str) -> None:
    text = re.sub(r"(?m)^complete .* -l ", "--", (ETC / "completions" / name).read_text())
    completed = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    daemon = execute(sys.executable, "-m", "gearhorn.cmd.serve", "--help", COLUMNS="200")
    taken = set(re.findall(r"(?m)^  (?:-h, )?(--[\w-]+)", daemon))
    own = {f"--{option.name}" for option in COMMAND_LINE}
    usual = {"--config-file", "--config-dir", "--debug", "--help", "--log-file", "--version"}
    assert own | usual <= completed <= taken


# Man pages.


@pytest.mark.parametrize(
    ("name", "said"),
    [("gearhorn.1", "import FILE"), ("gearhorn-fanout.8", "\\-\\-accept\\-store")],
)
def test_there_is_a_man_page_for_each_command(tmp_path: Path, name: str, said: str) -> None:
    pytest.importorskip("sphinx", reason="the documentation is built by a step of CI")
    execute(
        *(sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "man"), ROOT / "doc/man", tmp_path
    )
    text = (tmp_path / name).read_text()
    assert said in text
    assert "SYNOPSIS" in text
    assert ".SH EXIT STATUS" in text.upper()
