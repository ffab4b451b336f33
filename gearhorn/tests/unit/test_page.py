# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The page that names from strangers reach: its elements, and what a browser makes of them."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gearhorn.daemon.guard.sample import STATES, shown_name
from gearhorn.service import page
from gearhorn.tests.browser import Browser, chromium

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
            {"name": "store", "ok": False, "text": text, "advice": text, "link": "page.html#label"},
            {"name": "started", "ok": True, "text": "unseen", "advice": "", "link": ""},
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
        "journals": {
            "up": False,
            "apart": True,
            "fault": text,
            "messages_waiting": 1_000,
            "readers_waiting": 1,
            "replays": 0,
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


def test_a_daemon_without_journals_says_nothing_of_them() -> None:
    assert "Journals" in _Page(page.render(state()).decode()).text
    assert "Journals" not in _Page(page.render({**state(), "journals": None}).decode()).text


def test_no_more_rows_than_a_browser_bears(hostile: _Page) -> None:
    assert "and 20 more" in hostile.text


def luminance(colour: str) -> float:
    """The relative luminance of a colour, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(
        weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def contrast(one: float, other: float) -> float:
    """The contrast of two luminances, by the same."""
    dark, light = sorted((one, other))
    return (light + 0.05) / (dark + 0.05)


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
    assert contrast(*map(luminance, values[2 * scheme :][:2])) >= 4.5


# In a browser.

_LOOK = """
(() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const transparent = "rgba(0, 0, 0, 0)", ground = (element) => {
    while (element && getComputedStyle(element).backgroundColor == transparent)
      element = element.parentElement;
    return element ? getComputedStyle(element).backgroundColor : transparent;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), pairs = {};
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, shown = texts.currentNode.textContent.trim();
    if (shown) pairs[getComputedStyle(element).color + " on " + ground(element)] = shown;
  }
  return {
    pairs,
    wide: document.documentElement.scrollWidth - innerWidth,
    tags: Array.from(document.querySelectorAll("*"), (one) => one.localName),
    hidden: Array.from(document.querySelectorAll("body *"))
      .filter((one) => !one.getClientRects().length).map((one) => one.localName),
  };
})()
"""
"""What can be seen: the colours of all text with the last that has them, by how much the page is
wider than the window, all elements, and those that are not shown."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("chromium is not installed: nobody looks at the page itself")
    with contextlib.closing(Browser(executable, tmp_path_factory.mktemp("browser"))) as browser:
        yield browser


def as_file(path: Path, level: str = "warning") -> str:
    """Write a page full of hostile names, and return its address."""
    # The policy is in a header otherwise; here it stands in the page, which stays as it is.
    text = page.render(state(HOSTILE, level)).decode()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{page.POLICY}">'
    refresh = f'<meta http-equiv="refresh" content="{page.REFRESH_S}">'
    assert refresh in text
    path.write_text(text.replace(refresh, policy))
    return path.as_uri()


@pytest.mark.once
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_all_of_it(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "page.html"
    pairs: dict[str, str] = {}
    for level in ("ok", "warning", "error"):
        browser.open(as_file(path, level), width, scheme)
        seen = browser.evaluate(_LOOK)

        # What the browser made of it has the same elements: nothing was cut off or moved.
        assert seen["tags"] == [tag for tag, _ in _Page(path.read_text()).tags]
        assert seen["hidden"] == []
        # Only tables scroll sideways, each by itself.
        assert seen["wide"] <= 0
        # The style is the one that the policy lets in, and nothing else was asked for.
        said = [event["params"] for event in browser.events if event["method"] == "Log.entryAdded"]
        texts = [one["entry"]["text"] for one in said]
        # Which holds in a header alone.
        assert [text for text in texts if "frame-ancestors" not in text] == []
        pairs |= seen["pairs"]
    # It is light or dark as wanted, and all text can be read: the plain, the quiet and that of
    # each level.
    assert len(pairs) == 5
    for pair, shown in pairs.items():
        front, ground = map(luminance_of, pair.split(" on "))
        assert (front < ground) == (scheme == "light"), (pair, shown)
        assert contrast(front, ground) >= 4.5, (pair, shown)


def luminance_of(colour: str) -> float:
    """The luminance of a colour as a browser writes it, of which nothing shines through."""
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, colour
    return luminance(f"#{bytes(map(int, found.groups())).hex()}")


@pytest.mark.once
def test_a_browser_tells_people_who_cannot_see_it(browser: Browser, tmp_path: Path) -> None:
    browser.open(as_file(tmp_path / "page.html"), 1280, "light")
    nodes = browser.tell("Accessibility.getFullAXTree")["nodes"]
    names: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            names.setdefault(node["role"]["value"], []).append(name)

    assert names["heading"][0] == "gearhorn"
    assert "Topics with most waiting" in names["heading"]
    assert set(names["heading"][1:]) <= set(names["region"])
    assert all(names["region"])
    # Its tables are not taken for a layout, and all have titles.
    assert len(names["table"]) > 5
    assert {"WAITING", "SUBSCRIBERS"} & {name.upper() for name in names["columnheader"]}
    assert len(names["rowheader"]) > len(names["table"])
