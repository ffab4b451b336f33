# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The last warnings of the log, as the page shows them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator

import pytest

from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.http import Response
from gearhorn.service.site import Site
from gearhorn.service.watching import Watching
from gearhorn.wire.address import Address

LOG = logging.getLogger("gearhorn.tests.watched")
SHOWN = 20


@pytest.fixture
async def watching(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Watching]:
    settings = DaemonSettings(
        servers=(Address("one.example", 4730),), store_url="redis://127.0.0.1:1/0"
    )
    caplog.set_level(logging.INFO, LOG.name)
    watching = Watching(Daemon(settings))
    watching.start()
    yield watching
    watching.close()


def texts(watching: Watching) -> list[str]:
    return [line.text for line in watching.warnings()]


async def test_the_last_twenty_are_shown_the_newest_first(watching: Watching) -> None:
    for number in range(SHOWN):
        LOG.warning("warning %d", number)
    assert texts(watching) == [f"warning {number}" for number in reversed(range(SHOWN))]
    for number in range(SHOWN, 3 * SHOWN):
        # What is no warning takes the place of none.
        LOG.info("in between")
        LOG.warning("warning %d", number)
    LOG.error("the last")
    wanted = [f"warning {number}" for number in range(2 * SHOWN + 1, 3 * SHOWN)] + ["the last"]
    assert texts(watching) == wanted[::-1]
    assert [line.level for line in watching.warnings()][:2] == ["ERROR", "WARNING"]
    # All are counted.
    (counted,) = (one for one in watching.families() if one.name == "log_records_total")
    levels = {level: counted.samples[level,] for level in ("info", "warning", "error")}
    assert levels == {"info": 2 * SHOWN, "warning": 3 * SHOWN, "error": 1}


async def test_the_page_has_a_row_for_each(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = watching._daemon
    monkeypatch.setattr(daemon.survey.submitter, "load", lambda server: (32, 0, 0))
    site = Site(daemon, watching, {})
    for number in range(SHOWN + 5):
        LOG.warning("warning %d", number)
    wanted = [f"warning {number}" for number in reversed(range(5, SHOWN + 5))]
    status, page = (site.respond(path, "") for path in ("/status.json", "/"))
    assert isinstance(status, Response)
    assert isinstance(page, Response)
    assert [line["text"] for line in json.loads(status.body)["warnings"]] == wanted
    section = page.body.decode().partition(">Last warnings</h2>")[2].partition("</section>")[0]
    assert re.findall(r"<td>(warning \d+)</td></tr>", section) == wanted


async def test_a_long_line_is_cut(watching: Watching) -> None:
    LOG.warning("x" * 5_000)
    assert texts(watching) == ["x" * 1_000]


async def test_a_line_that_cannot_be_made_takes_no_place(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its handler would say so on stderr.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    LOG.warning("the one before")
    LOG.warning("%d", "no number")
    assert texts(watching) == ["the one before"]


async def test_nothing_is_kept_once_nobody_watches(watching: Watching) -> None:
    LOG.warning("one")
    handlers = len(logging.getLogger().handlers)
    watching.close()
    assert len(logging.getLogger().handlers) == handlers - 1
    LOG.warning("two")
    assert texts(watching) == ["one"]
    watching.start()
