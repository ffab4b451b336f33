# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Imports run one way: what each part of the package may know of the others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gearhorn

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parent

# From the bottom to the top: each part imports from lines above its own only.
LAYERS = (
    {"errors", "clock", "tasks", "version"},
    {"messages", "net"},
    {"wire", "store"},
    {"daemon", "client"},
    {"service"},
    {"cmd"},
)

# And further, whatever the layers allow.
NEVER = (
    ("wire", "messages"),  # bytes have no meaning there
    ("client", "store"),  # nobody but the daemons reaches the store
    ("cmd", "store"),
)

# Outside libraries that few modules keep to themselves.
KEPT = {
    "gear": ("wire.gear_import", "wire.server"),
    "aiohappyeyeballs": ("net.connecting",),
    "redis": ("store",),
    "sqlite3": ("store",),
    "oslo_config": ("service", "cmd"),
    "oslo_log": ("service",),
    "daemon": ("service.daemonize",),
    "click": ("cmd.cli",),
    "h11": ("service.http",),
    "prometheus_client": ("service.exposition",),
}

DRAWING = ROOT.parent / "doc" / "source" / "drawings" / "packages.svg"

# What has no I/O, no clock and no threads, and all that it may import.
PURE = {
    "errors.py": {"typing"},
    "client/journal/actions.py": {"typing"},
    "client/journal/order.py": {"collections", "itertools"},
    "client/journal/places.py": {"collections", "msgspec"},
    "client/numbers.py": {"re", "typing"},
    "messages/decoding.py": {"codecs", "msgspec", "typing"},
    "messages/defaults.py": {"dataclasses"},
    "messages/marks.py": {"collections", "hashlib", "re", "typing"},
    "messages/names.py": {"math", "re", "typing"},
    "messages/pages.py": {"collections", "msgspec", "typing"},
    "messages/reports.py": {"base64", "codecs", "msgspec"},
    "messages/requests.py": {"base64", "binascii", "msgspec", "typing"},
    "messages/values.py": {"base64", "msgspec", "typing"},
    "daemon/guard/assessing.py": {"collections", "sys"},
    "daemon/guard/depth.py": {"collections", "math", "sys", "typing"},
    "daemon/guard/guard.py": {"collections", "logging", "math", "sys", "typing"},
    "daemon/leases.py": {"dataclasses"},
    "daemon/guard/pace.py": {"collections", "math", "random"},
    "daemon/placement.py": {"collections", "hashlib", "itertools", "operator", "typing"},
    "daemon/recipients.py": {"bisect", "collections", "msgspec", "types", "typing", "zlib"},
    "daemon/guard/seen.py": {"collections", "heapq", "typing"},
    "daemon/guard/totals.py": {"math", "typing"},
    "wire/address.py": {"collections", "msgspec"},
    "wire/answer.py": {"typing"},
    "wire/batch.py": {"collections", "msgspec"},
    "wire/block.py": {"collections", "math"},
    "wire/framing.py": {"collections", "functools", "struct", "typing"},
    "wire/status.py": {"collections", "re", "typing"},
    "wire/tally.py": {"bisect", "collections"},
    "wire/window.py": set(),
}


# The package itself imports its clients lazily, for those who use them.
SOURCES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] != "tests" and path != ROOT / "__init__.py"
]


def imports(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            if node.module == "gearhorn":
                yield from (f"gearhorn.{alias.name}" for alias in node.names)
            else:
                yield node.module


def part_of(path: Path) -> str:
    """The part of the package that a file is: a module or a folder."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def own(path: Path) -> set[str]:
    """The other parts of the package that a file imports from."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("gearhorn.")}
    return names - {part_of(path)}


def layer(part: str) -> int:
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    raise AssertionError(f"gearhorn.{part} has no place in LAYERS: give it one")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_come_from_below(path: Path) -> None:
    part = part_of(path)
    for other in own(path):
        assert layer(other) < layer(part), f"{part} imports {other}"
        assert (part, other) not in NEVER, f"{part} imports {other}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_library_is_known_to_few_modules(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for name in imports(path):
        holders = KEPT.get(name.split(".")[0], (module,))
        assert any(f"{module}.".startswith(f"{holder}.") for holder in holders), (
            f"{module} imports {name}"
        )


@pytest.mark.parametrize("name", PURE)
def test_what_has_no_io_imports_none(name: str) -> None:
    outside = {module.split(".")[0] for module in imports(ROOT / name)}
    assert outside - {"gearhorn"} <= PURE[name]


def test_within_a_folder_nothing_imports_itself_in_a_circle() -> None:
    graph = {
        ".".join(("gearhorn", *path.relative_to(ROOT).with_suffix("").parts)): set(imports(path))
        for path in SOURCES
        if path.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " imports ".join((*chain, module))
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*chain, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def drawn_boxes() -> dict[str, tuple[float, float, float, float]]:
    """Return the left, right, top and bottom of the box of each part in the drawing."""
    svg = DRAWING.read_text("utf-8")
    frames = [
        (float(x), float(x) + float(width), float(y), float(y) + float(height))
        for x, y, width, height in re.findall(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg
        )
    ]
    boxes = {}
    for x, y, name in re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-weight="bold">(\w+)<', svg):
        (boxes[name],) = (
            (left, right, top, bottom)
            for left, right, top, bottom in frames
            if left < float(x) < right and top < float(y) < bottom
        )
    return boxes


def test_the_drawing_has_every_part() -> None:
    assert set(drawn_boxes()) == set().union(*LAYERS)


def test_every_arrow_of_the_drawing_is_an_import() -> None:
    boxes = drawn_boxes()
    used = {(part_of(path), other) for path in SOURCES for other in own(path)}
    arrows = re.findall(
        r'<path d="M(\d+) (\d+)(?:L(\d+) (\d+)|V(\d+))"/>', DRAWING.read_text("utf-8")
    )
    assert len(arrows) > 8
    for x, y, to_x, to_y, straight_y in arrows:
        (start,) = (
            name
            for name, (left, right, _, bottom) in boxes.items()
            if left < float(x) < right and bottom == float(y)
        )
        end_x, end_y = float(to_x or x), float(to_y or straight_y)
        # Arrows to the small modules, which stand close together, mean all of them.
        ends = {
            name
            for name, (left, right, top, _) in boxes.items()
            if top == end_y + 2 and (left < end_x < right or name in LAYERS[0])
        }
        assert any((start, end) in used for end in ends), f"{start} does not import {ends}"
