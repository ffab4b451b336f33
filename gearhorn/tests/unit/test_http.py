# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of HTTP: hostile bytes, addresses, and the page that names from strangers reach."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.daemon.guard.sample import STATES, shown_name
from gearhorn.service import page
from gearhorn.service.http import MAX_HEAD_BYTES, Response, Server
from gearhorn.service.listening import Listen
from gearhorn.tests.unit import model_fuzz as fuzz

# Hostile bytes.

_LINES = st.sampled_from(
    [
        *(
            b"GET / HTTP/1.1\r\n",
            b"HEAD /x HTTP/1.0\r\n",
            b"POST / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\n",
        ),
        *(b"GET http://[/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"GET \xff HTTP/1.1\r\n"),
        *(
            b"Host: a\r\n",
            b"Host: \0\r\n",
            b" folded\r\n",
            b": empty\r\n",
            b"A" * 9000 + b": x\r\n",
        ),
        *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(b"\r\n", b"\n", b"\r", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0RES\0\0\0\6\0\0\0\0"),
    ]
)
_STREAMS = st.lists(_LINES | st.binary(max_size=60), max_size=8).map(b"".join)


@fuzz.effort(400)
@given(_STREAMS, st.lists(st.integers(0, 60), max_size=20))
def test_any_bytes_get_one_answer_or_none(stream: bytes, sizes: list[int]) -> None:
    asked = []

    def respond(path: str, query: str) -> Response | None:
        asked.append(path)
        return Response(200, b"body") if path == "/" else None

    async def exchange() -> bytes:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        for piece in fuzz.cut(stream, sizes):
            reader.feed_data(piece)
        reader.feed_eof()
        return await Server(respond).exchange(reader)

    answer = asyncio.run(exchange())

    assert len(asked) <= 1
    if not answer:
        assert not asked
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert status in (200, 400, 404, 405, 431, 501, 505)
    assert (b"body" in body) <= (status == 200)
    assert b"\r\nConnection: close" in head
    (length,) = re.findall(rb"\r\nContent-Length: (\d+)", head)
    # To HEAD there is none.
    assert len(body) in (int(length), 0)


# Addresses.


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:9419", Listen("127.0.0.1", 9419)),
        ("[::1]:9419", Listen("::1", 9419)),
        ("unix:/run/gearhorn/http", Listen(path="/run/gearhorn/http")),
    ],
)
def test_addresses_that_can_be_listened_on(text: str, listen: Listen) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text


@pytest.mark.parametrize(
    "text",
    ["9419", "127.0.0.1", "127.0.0.1:", "[::1]", "::1:80", "unix:", "unix:here", "a:0", ":80"],
)
def test_what_is_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"\[http\] listen: .* write "):
        Listen.parse(text)


# The page.

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='a'>\0\x1b[2J\u202e" + "x" * 300


def state(text: str = "text", level: str = "ok") -> dict[str, Any]:
    """The state of a daemon, with ``text`` wherever a stranger could have put it."""
    return {
        "worker_id": text,
        "version": "1.0",
        "uptime": 100_000.0,
        "level": level,
        "verdict": "It serves.",
        "ready": True,
        "checks": [
            {"name": "store", "ok": False, "text": text, "advice": text},
            {"name": "started", "ok": True, "text": "unseen", "advice": ""},
        ],
        "job_servers": [
            {
                "address": f"one.example:{port}",
                "connected": ["fanout", "copies"],
                "missing": ["mark"],
                "block_size": 32,
                "copies_unsent": 1_000,
                "copies_unanswered": 2,
            }
            for port in (4730, 4731)
        ],
        "store": {
            "up": False,
            "kind": "redis",
            "fault": text,
            "calls_waiting": 3,
            "fault_seconds": 4.5,
        },
        "rates": {"fanouts": 1.5, "copies_queued": 2_000.0},
        "totals": {"fanouts": 15, "copies_queued": 20_000},
        "in_hand": {"background_fanouts": 1, "seconds_of_the_oldest": 0.5},
        "queues": {
            "sampled": "2026-11-28 10:00:00",
            "complete": True,
            "topics": 2,
            "subscriptions": 3,
            "waiting": 1_000,
            "running": 1,
            "states": dict.fromkeys(STATES, 1),
            "deepest": 900,
            "nonempty_seconds": 60.0,
            "top": [
                {
                    "topic": shown_name(f"{text}{n}"),
                    "waiting": 500,
                    "workers": n,
                    "unread_queues": 1,
                    "nonempty_seconds": 60.0,
                }
                for n in range(2)
            ],
        },
        "daemons": [
            {
                "worker_id": f"{text}{n}",
                "state": "live",
                "age": 3.0 if n else None,
                "differs": [text],
            }
            for n in range(120)
        ],
        "warnings": [{"time": "2026-11-28 10:00:00", "level": "WARNING", "text": text}],
        "configuration": {"[http] listen": text, "[store] url": "****"},
    }


class _Page(HTMLParser):
    """A page, with what its accessibility depends on."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self._open: list[str] = []
        self.text = ""
        self.styles = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles += data
        else:
            self.text += data

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def hostile() -> _Page:
    return _Page(page.render(state(HOSTILE)).decode())


def test_names_of_strangers_are_text_and_nothing_else(hostile: _Page) -> None:
    plain = _Page(page.render(state()).decode())
    # The same elements, whatever the names are.
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert {name for _, attributes in hostile.tags for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "id", "scope", "role"),
        *("aria-labelledby", "aria-label", "tabindex"),
    }
    assert "<script>alert(1)</script>" in hostile.text
    for invisible in ("\0", "\x1b", "\u202e"):
        assert invisible not in hostile.text


def test_nothing_is_run_or_fetched(hostile: _Page) -> None:
    assert {tag for tag, _ in hostile.tags}.isdisjoint({"script", "img", "link", "form", "iframe"})
    for forbidden in ("url(", "@import", "expression"):
        assert forbidden not in hostile.styles
    assert "'unsafe-inline'" not in page.POLICY


def test_the_page_can_be_read_by_ear(hostile: _Page) -> None:
    assert hostile.all("html")[0]["lang"] == "en"
    assert hostile.all("title")
    headings = [int(tag[1]) for tag, _ in hostile.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert all(heading["scope"] in ("col", "row") for heading in hostile.all("th"))
    assert len(hostile.all("table")) == len(hostile.all("thead")) > 5
    # What scrolls can be reached by the keyboard, and has a name.
    scrolling = [one for one in hostile.all("div") if one.get("class") == "scroll"]
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolling)
    assert len(scrolling) == len(hostile.all("table"))
    names = {one["id"] for one in hostile.all("h2")}
    assert {one["aria-labelledby"] for one in hostile.all("section")} == names


def test_a_daemon_that_does_not_sample_says_so() -> None:
    none = _Page(page.render({**state(), "queues": None}).decode()).text
    assert "Not sampled by this daemon: [http] queue_interval is not set." in none
    assert "None with anything waiting is known." in none
    not_yet = _Page(page.render({**state(), "queues": {"sampled": None}}).decode()).text
    assert "Not sampled yet." in not_yet


def test_no_more_rows_than_a_browser_bears(hostile: _Page) -> None:
    assert "and 20 more" in hostile.text


def luminance(colour: str) -> float:
    """The relative luminance of a colour, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(
        weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("text", "ground"),
        ("quiet", "ground"),
        ("good", "good-ground"),
        ("warn", "warn-ground"),
        ("bad", "bad-ground"),
        ("focus", "ground"),
    ],
)
def test_text_can_be_read_on_its_ground(
    hostile: _Page, scheme: int, text: str, ground: str
) -> None:
    values = re.findall(rf"--(?:{text}|{ground}):(#\w{{6}})", hostile.styles)
    assert len(values) == 4
    dark, light = sorted(map(luminance, values[2 * scheme :][:2]))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.once
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_all_of_it(tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: nobody looks at the page itself")
    # The policy is in a header otherwise; here it stands in the page.
    text = page.render(state(HOSTILE, "warning")).decode()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{page.POLICY}">'
    path = tmp_path / "page.html"
    path.write_text(text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{policy}'))
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    # What the browser made of it has the same elements: nothing was cut off or moved.
    made = [tag for tag, _ in _Page(done.stdout).tags]
    assert made == [tag for tag, _ in _Page(path.read_text()).tags]
    assert "Refused to apply inline style" not in done.stderr
