# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The documentation and the README say what the code does."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gearhorn
from gearhorn import errors, messages
from gearhorn.cmd import serve as command
from gearhorn.daemon import workers
from gearhorn.daemon.journal import reads, replays
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.recipients import GROUP_COPIES
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service import config, options, standalone
from gearhorn.store import patience
from gearhorn.wire import block, framing, grabber

pytestmark = pytest.mark.once

PACKAGE = Path(gearhorn.__file__).parent
ROOT = PACKAGE.parent
SOURCE = ROOT / "doc" / "source"
PAGES = {
    path.relative_to(SOURCE).with_suffix("").as_posix(): path.read_text("utf-8")
    for path in SOURCE.rglob("*.rst")
}
README = (ROOT / "README.rst").read_text("utf-8")
PROTOCOL = PAGES["reference/protocol"]
EXIT_CODES = PAGES["reference/exit-codes"]
LOGS = PAGES["reference/logs"]
ARCHITECTURE = PAGES["explanation/architecture"]


def words(text: str) -> str:
    """The text with each run of white space as one space."""
    return " ".join(text.split())


def between(page: str, what: str) -> str:
    """The part of a page between its comments ``list of`` and ``end of``."""
    start, end = f".. list of {what}\n", f".. end of {what}\n"
    assert start in page
    assert end in page
    return page.partition(start)[2].partition(end)[0]


def first_column(text: str) -> list[str]:
    """The names in the first column of the tables in ``text``."""
    parts = re.split(r"^=+(?: =+)+\n", text, flags=re.MULTILINE)
    # The rows of a table have no blank line between them; what is between tables has.
    rows = "".join(part for part in parts if not re.search(r"^$", part.rstrip("\n"), re.MULTILINE))
    return re.findall(r"^``([^`]+)``", rows, re.MULTILINE)


def section(page: str, title: str) -> str:
    """From a title that begins so to the next title."""
    body = re.split(rf"^{re.escape(title)}.*\n[.=-]+\n", page, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^\S.*\n([.=-])\1{3,}\n", body, maxsplit=1, flags=re.MULTILINE)[0]


def subclasses(root: type[errors.GearhornError]) -> Iterator[type[errors.GearhornError]]:
    for one in root.__subclasses__():
        yield one
        yield from subclasses(one)


# The protocol.


def test_every_code_and_no_other_stands_on_the_protocol_page() -> None:
    documented = first_column(between(PROTOCOL, "codes"))
    codes = {error.code for error in subclasses(errors.RequestError)}
    # What a query is refused with where the store does not answer, and bugs.
    codes |= {error.code for error in subclasses(errors.StoreError)}
    codes |= {errors.StoreError.code, errors.JournalsDiffer.code, errors.GearhornError.code}
    assert sorted(documented) == sorted(codes)


def test_every_reason_and_no_other_stands_on_the_protocol_page() -> None:
    assert sorted(first_column(between(PROTOCOL, "reasons"))) == sorted(messages.REASONS)


def test_every_function_stands_on_the_protocol_page() -> None:
    own = messages.queue_name(messages.MATCHMAKING_TOPIC, "<worker id>")
    names = [*vars(messages.FunctionNames()).values(), own]
    assert sorted(first_column(section(PROTOCOL, "Functions"))) == sorted(names)


@pytest.mark.parametrize(
    ("title", "struct"),
    [
        ("Subscribing: ", messages.Register),
        ("Unsubscribing: ", messages.Unregister),
        ("Publishing: ", messages.FanOut),
        ("Matchmaking notices: ", messages.Notice),
    ],
)
def test_every_key_of_a_request_stands_in_its_table(
    title: str, struct: type[messages.Request]
) -> None:
    assert sorted(first_column(section(PROTOCOL, title))) == sorted(struct.__struct_fields__)


def test_every_query_and_key_stands_on_the_protocol_page() -> None:
    text = section(PROTOCOL, "Asking: ")
    # One has the name of a key.
    assert set(first_column(text)) == {*messages.Query.__struct_fields__, *messages.QUERIES}
    for row in (
        messages.TopicRow,
        messages.SubscriberRow,
        messages.DaemonRow,
        messages.StatusRow,
        messages.JournalRow,
    ):
        for key in row.__struct_fields__:
            assert f"``{key}``" in text


def test_every_key_of_reading_and_of_registering_stands_on_the_protocol_page() -> None:
    reading = first_column(section(PROTOCOL, "Reading: "))
    assert set(reading) == {
        *messages.Read.__struct_fields__,
        *messages.Backlog.__struct_fields__,
    }
    replayed = first_column(section(PROTOCOL, "Journals"))
    assert set(replayed) < {*messages.Subscription.__struct_fields__}
    assert {*messages.STOPS, *messages.STARTS} <= set(re.findall(r"``\"?(\w+)\"?``", PROTOCOL))


def test_every_key_of_a_report_stands_in_its_table() -> None:
    table = section(PROTOCOL, "Reports").partition(".. list of reasons")[0]
    assert sorted(first_column(table)) == sorted(messages.FanOutReport.__struct_fields__)


def test_the_examples_of_reports_on_the_protocol_page_are_reports() -> None:
    examples = re.findall(r'^    (\{"topic": .*"queue": .*\})$', PROTOCOL, re.MULTILINE)
    assert examples
    for example in examples:
        msgspec.json.decode(example, type=messages.Subscription)
    (page,) = re.findall(r'^    (\{"query":.*\})$', PROTOCOL, re.MULTILINE)
    msgspec.json.decode(page, type=messages.Page[messages.TopicRow])


@pytest.mark.parametrize(
    "text",
    [
        f"It may have {messages.MAX_QUEUE_BYTES} bytes of UTF-8.",
        f"1 to {messages.MAX_UNIQUE_BYTES} bytes of UTF-8",
        f"above 0 and at most {messages.MAX_SECONDS} (ten years)",
        f"at most {messages.MAX_LISTED_FAILURES} of them",
        f"1 to {messages.MAX_PAGE} (the default)",
        f"1 to {messages.MAX_ID_BYTES} bytes of UTF-8",
        f"1 to {messages.MAX_READ_LIMIT}; {messages.READ_LIMIT} unless given",
        f"up to {messages.MAX_READ_BYTES >> 20} MiB; {messages.READ_BYTES >> 20} MiB unless given",
        f"0 to {messages.MAX_WAIT_S}",
        f"{reads.MOST_WAITING:,} readers may wait",
        f"one of {replays.MOST_REPLAYS} places",
        f"A request may have {workers.SMALL_MESSAGE_BYTES >> 10} KiB",
        f"{DaemonSettings.max_message_bytes >> 20} MiB unless configured otherwise",
    ],
)
def test_the_limits_on_the_protocol_page_are_those_of_the_code(text: str) -> None:
    assert text in words(PROTOCOL)


def test_the_packets_on_the_protocol_page_are_packets() -> None:
    examples = re.findall(
        r"((?:^    (?:[0-9a-f]{2} )+ .*\n)+)",
        section(PROTOCOL, "One exchange, byte by byte"),
        re.MULTILINE,
    )
    assert len(examples) > 5
    for example in examples:
        data = b"".join(
            bytes.fromhex(line[4:].partition("   ")[0]) for line in example.splitlines()
        )
        ((_, body, _),) = framing.PacketReader(1 << 20, data[:4]).feed(data)
        shown = "".join(line.rpartition("   ")[2] for line in example.splitlines())
        assert shown == re.sub(r"[^ -~]", ".", data.decode("latin-1"))
        assert len(data) == framing.HEADER_BYTES + len(body)


# Options.


def known_options() -> set[str]:
    return {
        f"[{group.name}] {option.name}" for group, some in config.list_opts() for option in some
    }


@pytest.mark.parametrize("page", sorted([*PAGES, "README"]))
def test_every_option_that_is_named_exists(page: str) -> None:
    text = words({**PAGES, "README": README}[page])
    named = re.findall(r"``(\[\w+\] \w+)(?: = \w+)?``", text)
    assert set(named) <= known_options()
    groups = set(re.findall(r"(?<!a )``\[(\w+)\]``", text))
    assert groups <= {group.name for group in options.GROUPS}


@pytest.mark.parametrize(
    "text",
    [README, *(PAGES[f"howto/{name}"] for name in ("service", "security", "backup"))],
    ids=["README", "service", "security", "backup"],
)
def test_the_configuration_that_is_shown_can_be_read(text: str) -> None:
    blocks = re.findall(r"^\.\. code-block:: ini\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert blocks
    for shown_text in blocks:
        parser = configparser.ConfigParser()
        parser.read_string(re.sub(r"^    ", "", shown_text, flags=re.MULTILINE))
        shown = {f"[{group}] {name}" for group in parser.sections() for name in parser[group]}
        assert shown <= known_options()


def test_the_configuration_page_is_generated_from_all_options() -> None:
    assert "\n.. show-options:: gearhorn\n" in PAGES["reference/configuration"]
    assert "gearhorn = gearhorn.service.config:list_opts" in (ROOT / "setup.cfg").read_text("utf-8")
    assert [group for group, _ in config.list_opts()] == list(options.GROUPS)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("explanation/promises", f"``cache_ttl`` ({Leases.cache_ttl:g} seconds)"),
        ("explanation/promises", f"``daemon_ttl`` ({Leases.daemon_ttl:g} seconds)"),
        ("explanation/promises", f"{Leases().longest_list:g} seconds, and never"),
        ("reference/cli", f"``[service] drain_timeout`` ({DaemonSettings.drain_timeout:g})"),
        (
            "explanation/capacity",
            f"about {['no', 'one', 'two', 'three', 'four'][workers.WINDOW_MESSAGES]}, and one that",
        ),
        ("howto/servers", f"up to {GROUP_COPIES} copies share a unique"),
        ("explanation/architecture", f"up to {block.MOST:,} copies"),
        ("explanation/architecture", f"takes {block.AIM_S * 1000:g} ms"),
        ("explanation/architecture", f"holds {block.MOST_FOREGROUND} at the most"),
        ("explanation/architecture", f"down to {block.LEAST}."),
        ("explanation/architecture", f"up to {grabber.MAX_GRABS} as jobs come"),
    ],
)
def test_the_numbers_that_are_named_are_those_of_the_code(page: str, text: str) -> None:
    assert text in words(PAGES[page])


# Operation.


def test_the_exit_codes_are_those_of_the_command() -> None:
    documented = first_column(between(EXIT_CODES, "exit codes"))
    assert command.__doc__ is not None
    named = re.findall(r"^(\d+|128\+n) ", command.__doc__, re.MULTILINE)
    assert documented == named
    constants = {str(value) for name, value in vars(command).items() if name.startswith("EX_")}
    assert constants <= set(documented)


def test_the_service_is_shown_as_it_is() -> None:
    unit = (ROOT / "etc" / "gearhorn-fanout.service").read_text("utf-8").splitlines()
    shown_part = section(PAGES["howto/service"], "What the unit file says")
    shown = re.findall(r"^    (\w+=.*)$", shown_part, re.MULTILINE)
    assert len(shown) > 5
    for line in shown:
        assert line in unit


def log_lines() -> dict[str, str]:
    """The level of each line on the page, with what is filled in as an asterisk."""
    entries = re.findall(r"^``(.+)``\n    ([A-Z]+)\. ", between(LOGS, "log lines"), re.MULTILINE)
    # Each is a definition: none is without a level.
    assert len(entries) == len(re.findall(r"^``", between(LOGS, "log lines"), re.MULTILINE))
    return {re.sub(r"<[^>]+>", "*", line): level for line, level in entries}


def strings_of_the_code() -> set[str]:
    """Every string in the package, with what is filled in as an asterisk."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if PACKAGE / "tests" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.sub(r"%(\.\d)?[a-z]", "*", node.value))
            elif isinstance(node, ast.JoinedStr):
                filled = (
                    part.value if isinstance(part, ast.Constant) else "*" for part in node.values
                )
                found.add("".join(map(str, filled)))
    return found


def test_every_log_line_that_is_shown_is_logged() -> None:
    lines = log_lines()
    assert len(lines) > 15
    # Some begin with a code, or end with what is filled in.
    known = strings_of_the_code()
    known |= {f"{text}: *" for text in known} | {f"*: {text}" for text in known}
    assert lines.keys() <= known


_LEVELS = {"exception": "ERROR"}


def logged() -> dict[str, set[str]]:
    """The levels at which the daemon logs each text at INFO and above."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if {PACKAGE / "tests", PACKAGE / "client", PACKAGE / "cmd" / "cli"} & {*path.parents}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="LOG" | "_log"),
                        attr="info" | "warning" | "error" | "exception" | "critical" as level,
                    ),
                    args=[ast.Constant(value=str(text)), *_],
                ):
                    line = re.sub(r"%(\.\d)?[a-z]", "*", text)
                    found.setdefault(line, set()).add(_LEVELS.get(level, level.upper()))
    return {line: levels for line, levels in found.items() if re.search("[a-z]", line)}


def test_every_line_that_is_logged_is_shown_with_its_level() -> None:
    shown = log_lines()
    assert len(logged()) > 20
    for line, levels in logged().items():
        assert shown.get(line) in levels, line


def test_every_fault_of_the_store_is_shown_with_the_line_that_is_logged() -> None:
    shown = log_lines()
    for advice in (*patience._ADVICE.values(), patience._OTHER):
        assert shown[f"{advice}: *"] == "ERROR"
    for kind in patience._ADVICE:
        assert f"\n``{kind.code}``\n    " in PAGES["reference/store"]


# The architecture.

ROOMS = ["messages", "wire", "store", "net", "client", "service", "daemon"]
ROOMS += [f"daemon/{init.parent.name}" for init in PACKAGE.glob("daemon/*/__init__.py")]
ROOMS += [f"client/{init.parent.name}" for init in PACKAGE.glob("client/*/__init__.py")]


def test_every_module_stands_on_the_architecture_page_and_is_there() -> None:
    documented = first_column(between(ARCHITECTURE, "modules"))
    present = {
        f"gearhorn/{path.name}" + ("/" if path.is_dir() else "")
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    present |= {f"gearhorn/{room}/" for room in ROOMS if "/" in room}
    assert sorted(documented) == sorted(present - {"gearhorn/__init__.py"})


@pytest.mark.parametrize("package", ROOMS)
def test_every_module_of_a_package_stands_on_the_architecture_page(package: str) -> None:
    row = words(between(ARCHITECTURE, "modules")).partition(f"``gearhorn/{package}/``")[2]
    row = row.partition("``gearhorn/")[0]
    for path in (PACKAGE / package).glob("*.py"):
        assert path.stem == "__init__" or f"``{path.stem}``" in row


# The README.

DECODERS: dict[str, messages.RequestDecoder[Any]] = {
    "register_fanout_subscriber": messages.RequestDecoder(messages.Register),
    "subscribe_fanout": messages.RequestDecoder(messages.Register),
    "unregister_fanout_subscriber": messages.RequestDecoder(messages.Unregister),
    "fanout": messages.RequestDecoder(messages.FanOut),
}


def requests_shown() -> Iterator[tuple[str, bytes, str]]:
    """Function, request and what comes back, of the README's commands."""
    for match in re.finditer(
        r"^    \$ gearman -f (\w+) (?:'(.+)'|<memo.json)\n    (.*)$", README, re.MULTILINE
    ):
        function, request, answer = match.groups()
        if request is None:
            (request,) = re.findall(r"\$ cat memo.json\n    (.*)\n", README)
        yield function, request.encode(), answer


def test_the_requests_in_the_readme_are_requests() -> None:
    shown = list(requests_shown())
    assert len(shown) > 6
    for function, request, answer in shown:
        decode = DECODERS[function]
        if '"error"' in answer:
            refusal = msgspec.json.decode(answer.removesuffix("Job failed"), type=messages.Refusal)
            with pytest.raises(errors.RequestError) as raised:
                decode(request)
            assert messages.Refusal.of(raised.value) == refusal
        else:
            decode(request)
            kind = messages.FanOutReport if function == "fanout" else messages.Subscription
            msgspec.json.decode(answer.removesuffix("Job failed"), type=kind)


def test_the_pages_that_the_readme_names_are_there() -> None:
    for path in re.findall(r"``((?:doc|tools|etc|gearhorn)/[\w./-]+)``", README):
        assert path == "doc/build/html" or (ROOT / path).exists(), path


# The tutorial.


def test_the_standalone_mode_says_what_the_tutorial_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    directory = Path("/home/you/.local/state/gearhorn")
    port = config.load(["--standalone"]).standalone.port
    settings = standalone.standalone_settings(
        DaemonSettings(servers=(), store_url=""), port, directory
    )
    program = standalone.find_program(port, directory)
    greeting = standalone.greeting(program, settings, directory)
    (shown,) = re.findall(
        r"    \$ tools/run-standalone\n((?:    .*\n|\n)+)", PAGES["tutorial"], re.MULTILINE
    )
    assert re.sub(r"^    ", "", shown, flags=re.MULTILINE).strip() == greeting.strip()
