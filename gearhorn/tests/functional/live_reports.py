# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The report of a live daemon, asked for by SIGUSR1."""

from __future__ import annotations

import re
import signal

from gearhorn.tests.daemons import Daemon
from gearhorn.tests.processes import Server, eventually


def report_of(one: Daemon) -> list[str]:
    """Ask for a report and return its lines."""
    before = len(lines_of_reports(one))
    one.signal(signal.SIGUSR1)
    eventually(lambda: "end" in lines_of_reports(one)[before:])
    return lines_of_reports(one)[before:]


def until_all_copies_go(one: Daemon, *servers: Server) -> None:
    """Wait until a daemon sends copies to each of these job servers.

    When it is ready it may be connected to one of them only.
    """
    wanted = [f"job server {server.address}: connected for " for server in servers]

    def told() -> bool:
        lines = [line.partition(";")[0] for line in report_of(one)]
        sending = [line for line in lines if ", copies" in line]
        return all(any(line.startswith(each) for line in sending) for each in wanted)

    eventually(told)


def lines_of_reports(one: Daemon) -> list[str]:
    """The lines of all reports in the log."""
    return re.findall(r" INFO gearhorn\.service\.report \[-\] report: (.*)", one.log)
