# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The page for people: HTML without a script, which a browser reads again every few seconds.

All text goes through :func:`escape`, as names come from strangers. The browser may use the
one style and nothing else.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gearhorn import messages

REFRESH_S = 5
_MOST_ROWS = 100

# Each colour of text is tested against its ground, in both schemes.
_STYLE = """
:root{color-scheme:light dark;--ground:#ffffff;--text:#1d2327;--quiet:#565f66;--line:#c9d0d5;
--good:#0a5c2b;--good-ground:#e3f4e8;--bad:#9a1b13;--bad-ground:#fdeae8;
--warn:#6b4700;--warn-ground:#fdf3d8;--focus:#0b57d0}
@media (prefers-color-scheme:dark){:root{--ground:#14181b;--text:#e6eaed;--quiet:#a9b3ba;
--line:#3b444b;--good:#8fe0ad;--good-ground:#0f2a1a;--bad:#ffb4ab;--bad-ground:#3b1412;
--warn:#f3cf7a;--warn-ground:#322605;--focus:#8ab4f8}}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--ground);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:1.75rem 0 .5rem}
p{margin:.25rem 0}.quiet{color:var(--quiet)}
.verdict{margin:1rem 0;padding:.75rem 1rem;border-left:.4rem solid;border-radius:.25rem}
.verdict p:first-child{font-weight:600}
.good{color:var(--good);background:var(--good-ground)}
.warn{color:var(--warn);background:var(--warn-ground)}
.bad{color:var(--bad);background:var(--bad-ground)}
.scroll{overflow-x:auto}.scroll+.scroll{margin-top:1rem}
.scroll:focus-visible,summary:focus-visible{outline:.2rem solid var(--focus)}
table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .75rem .3rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}
thead th{color:var(--quiet);font-weight:600}tbody th{font-weight:400}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
summary{cursor:pointer}footer{margin-top:2rem}
""".replace("\n", "")

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def escape(value: object) -> str:
    """Return a value as text for HTML, without what is not to be seen."""
    return html.escape(messages.printable(value))


def render(state: Mapping[str, Any]) -> bytes:
    """Return the page that shows ``state``, as :mod:`gearhorn.service.site` makes it."""
    title = f"gearhorn: {state['worker_id']}"
    body = [
        "<header>",
        f"<h1>gearhorn</h1><p class=quiet>{escape(state['worker_id'])}</p>",
        "</header><main>",
        _verdict(state),
        _section("Job servers", _servers(state)),
        _section("Store", _store(state)),
        _section("Journals", _journals(state)) if state["journals"] else "",
        _section("Work", _work(state)),
        _section("Queues", _queues(state)),
        _section("Topics with most waiting", _topics(state)),
        _section("Daemons", _daemons(state)),
        _section("Last warnings", _warnings(state)),
        _section("Configuration", _configuration(state)),
        "</main>",
        f"<footer class=quiet><p>gearhorn {escape(state['version'])}, up for "
        f"{_duration(state['uptime'])}. Read again every {REFRESH_S} seconds. The same for "
        "programs: <code>/status.json</code>, <code>/metrics</code>.</p></footer>",
    ]
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>"
    )
    return page.encode()


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{content}</section>'


def _table(name: str, titles: Sequence[str], rows: Iterable[Sequence[object]], none: str) -> str:
    """Return a table whose first column names each row; numbers stand at the right."""
    rows = list(rows)
    if not rows:
        return f"<p>{none}</p>"
    numeric = [isinstance(cell, (int, float)) for cell in rows[0]]
    shown = [" class=number" if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{title}</th>' for title, kind in zip(titles, shown, strict=True)
    )
    lines = []
    for first, *others in rows[:_MOST_ROWS]:
        cells = "".join(
            f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(others, shown[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>')
    more = len(rows) - _MOST_ROWS
    after = f"<p>and {more} more</p>" if more > 0 else ""
    # What may be wider than the window scrolls, and the keyboard reaches it.
    return (
        f'<div class=scroll tabindex="0" role="region" aria-label="{name}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>{after}"
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _label(name: str) -> str:
    return _begun(name.replace("_", " ").replace("fanouts", "fan-outs"))


def _begun(text: str) -> str:
    """Return a text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _verdict(state: Mapping[str, Any]) -> str:
    level = {"ok": "good", "warning": "warn", "error": "bad"}[state["level"]]
    lines = [f"<p>{escape(state['verdict'])}</p>"]
    lines += [
        f"<p>{escape(_begun(check['text']))}. {escape(check['advice'])} See "
        f"{escape(check['link'])}</p>"
        for check in state["checks"]
        if not check["ok"]
    ]
    return f'<div class="verdict {level}" role="status">{"".join(lines)}</div>'


def _servers(state: Mapping[str, Any]) -> str:
    return _table(
        "Job servers",
        ("Server", "Connected for", "Missing for", "Block", "Unsent", "Unanswered"),
        (
            (
                server["address"],
                ", ".join(server["connected"]) or "nothing",
                ", ".join(server["missing"]) or "nothing",
                server["block_size"],
                server["copies_unsent"],
                server["copies_unanswered"],
            )
            for server in state["job_servers"]
        ),
        "None is configured.",
    )


def _store(state: Mapping[str, Any]) -> str:
    store = state["store"]
    rows = (
        ("Does what it is asked", "yes" if store["up"] else "no"),
        ("Kind", store["kind"]),
        ("Fault", store["fault"] or "none"),
        ("Calls that wait", f"{store['calls_waiting']:,}"),
        ("Seconds with a fault since the start", f"{store['fault_seconds']:,.1f}"),
    )
    return _table("Store", ("What", "Now"), rows, "")


def _journals(state: Mapping[str, Any]) -> str:
    journals = state["journals"]
    rows = (
        ("Take messages", "yes" if journals["up"] else "no"),
        ("Stand in a store of their own", "yes" if journals["apart"] else "no"),
        ("Fault", journals["fault"] or "none"),
        ("Messages that wait for their numbers", f"{journals['messages_waiting']:,}"),
        ("Readers that wait for messages", f"{journals['readers_waiting']:,}"),
        ("Replays that run or wait", f"{journals['replays']:,}"),
    )
    return _table("Journals", ("What", "Now"), rows, "")


def _work(state: Mapping[str, Any]) -> str:
    rates = _table(
        "Rates",
        ("What", "A second", "Since the start"),
        ((_label(name), rate, state["totals"][name]) for name, rate in state["rates"].items()),
        "",
    )
    in_hand = _table(
        "In hand",
        ("What", "Now"),
        ((_label(name), value) for name, value in state["in_hand"].items()),
        "",
    )
    return rates + in_hand


_QUEUES = {
    "idle": "Queues in which nothing waits",
    "backlogged": "Queues with copies, and workers that take them",
    "unread": "Queues with copies and no worker",
    "half_read": "Queues with copies on a job server where no worker takes them",
    "orphaned": "Queues with copies that are nobody's",
}


def _queues(state: Mapping[str, Any]) -> str:
    queues = state["queues"]
    if queues is None:
        return "<p>Not sampled by this daemon: [http] queue_interval is not set.</p>"
    if queues["sampled"] is None:
        return "<p>Not sampled yet.</p>"
    rows = (
        ("Topics", queues["topics"]),
        ("Subscriptions", queues["subscriptions"]),
        ("Copies that wait", queues["waiting"]),
        ("Copies that workers have", queues["running"]),
        *((text, queues["states"][name]) for name, text in _QUEUES.items()),
        ("Most copies that wait in one queue", queues["deepest"]),
        ("Seconds for which one was not seen empty", queues["nonempty_seconds"]),
    )
    # What is shown is the last whole one.
    sampled = f"Sampled at {escape(queues['sampled'])} UTC"
    more = "." if queues["complete"] else ", not from all job servers, or not lately."
    table = _table("Queues", ("What", "Last sample"), rows, "")
    return f"{table}<p class=quiet>{sampled}{more}</p>"


def _topics(state: Mapping[str, Any]) -> str:
    queues = state["queues"] or {}
    return _table(
        "Topics with most waiting",
        ("Topic", "Waiting", "Workers", "Unread queues", "Seconds not empty"),
        (
            (
                topic["topic"],
                topic["waiting"],
                topic["workers"],
                topic["unread_queues"],
                topic["nonempty_seconds"],
            )
            for topic in queues.get("top", ())
        ),
        "None with anything waiting is known.",
    )


def _daemons(state: Mapping[str, Any]) -> str:
    return _table(
        "Daemons",
        ("Worker id", "State", "Last seen", "Differs in"),
        (
            (
                daemon["worker_id"],
                daemon["state"],
                "unknown" if daemon["age"] is None else f"{_duration(daemon['age'])} ago",
                ", ".join(daemon["differs"]) or "nothing",
            )
            for daemon in state["daemons"]
        ),
        "None has been seen yet.",
    )


def _warnings(state: Mapping[str, Any]) -> str:
    return _table(
        "Last warnings",
        ("Time (UTC)", "Level", "Line of the log"),
        ((line["time"], line["level"], line["text"]) for line in state["warnings"]),
        "None since the start.",
    )


def _configuration(state: Mapping[str, Any]) -> str:
    table = _table(
        "Configuration", ("Option", "Value"), state["configuration"].items(), "Nothing is set."
    )
    return f"<details><summary>All options, without secrets</summary>{table}</details>"
