# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation link to each other, and agree with the project."""

from __future__ import annotations

import configparser
import posixpath
import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import gearhorn
from gearhorn.cmd.cli import checks

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
SOURCE = ROOT / "doc" / "source"
PAGES = {
    path.relative_to(SOURCE).with_suffix("").as_posix(): path.read_text("utf-8")
    for path in SOURCE.rglob("*.rst")
}


def labels() -> dict[str, str]:
    """The page on which each label stands."""
    return {
        label: page
        for page, text in PAGES.items()
        for label in re.findall(r"^\.\. _([\w-]+):$", text, re.MULTILINE)
    }


def links(page: str) -> set[str]:
    """The other pages to which a page links in its text."""
    text = PAGES[page]
    found = set()
    for target in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text):
        found.add(posixpath.normpath(posixpath.join(posixpath.dirname(page), target)))
    for label in re.findall(r":ref:`(?:[^`<]*<)?([^`>]+)>?`", text):
        found.add(labels()[label])
    if ":term:`" in text:
        found.add("glossary")
    return found - {page}


def listed() -> list[str]:
    """The pages in the order of the front page."""
    trees = re.findall(r"^\.\. toctree::\n((?:   .*\n|\n)+)", PAGES["index"], re.MULTILINE)
    assert all(":caption: " in tree for tree in trees)
    return [name for tree in trees for name in re.findall(r"^   ([\w/-]+)$", tree, re.MULTILINE)]


def table(page: str, what: str) -> dict[str, str]:
    """The rows of a table of two columns, between its comments."""
    text = PAGES[page].partition(f".. list of {what}\n")[2].partition(f".. end of {what}\n")[0]
    rows = re.findall(r"^(\S.*?) {2,}(\S.*)$|^``(\S+)`` (\S.*)$", text, re.MULTILINE)
    return {(a or c).strip("`"): b or d for a, b, c, d in rows if not a.startswith("=")}


def test_every_page_stands_once_on_the_front_page() -> None:
    assert sorted([*listed(), "index"]) == sorted(PAGES)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_has_one_title(page: str) -> None:
    # The first line, or none: notes of how something is built are not for readers.
    title, line = PAGES[page].split("\n")[:2]
    assert line == "=" * len(title)
    assert len(re.findall(r"^=+$", PAGES[page], re.MULTILINE)) == 1
    assert re.fullmatch(r"[a-z/-]+", page)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_between_pages_work_both_ways(page: str) -> None:
    # The front page links to all by its list.
    for other in links(page) - {"index"}:
        assert page == "index" or page in links(other), f"{other} does not link to {page}"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    folders = "doc|tools|etc|gearhorn|benchmarks|releasenotes"
    named = re.findall(rf"``((?:{folders})/[\w./-]*[\w/]|\w+\.rst|[\w-]+\.txt)``", PAGES[page])
    for path in named:
        assert path.startswith("doc/build/") or (ROOT / path).exists(), path


@pytest.mark.parametrize("folder", ["gearhorn", "benchmarks", "tools", "doc", ".github"])
def test_the_pages_that_other_files_name_are_there(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".md", ".rst", "") and path.is_file():
            text = path.read_text("utf-8")
            for named in re.findall(r"doc/source/[\w/-]+\.rst", text):
                assert (ROOT / named).exists(), path


def test_every_drawing_is_shown() -> None:
    shown = {
        posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        for page, text in PAGES.items()
        for path in re.findall(r"^   :file: (\S+)$", text, re.MULTILINE)
    }
    assert shown == {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.svg")}


def test_the_pythons_that_are_run_are_the_same_everywhere() -> None:
    shown = table("reference/support", "what is run")["Python"].split(", ")
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    classifiers = setup["metadata"]["classifier"]
    assert shown == re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    (minors,) = re.findall(r"for minor in ([\d ]+);", (ROOT / ".ci/run").read_text("utf-8"))
    assert shown == [f"3.{minor}" for minor in minors.split()]
    assert setup["metadata"]["python_requires"] == f">={shown[0]}"


def test_the_job_server_that_is_run_is_the_one_that_doctor_expects() -> None:
    version = ".".join(map(str, checks.TESTED_GEARMAND))
    assert table("reference/support", "what is run")["gearmand"].startswith(f"{version},")
    assert f"gearmand {version} is what gearhorn is written for" in PAGES["howto/service"]


def test_the_lowest_versions_are_those_that_are_required() -> None:
    required = re.findall(
        r"^([\w.-]+)(?:\[\w+\])?>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    shown = table("reference/support", "lowest versions")
    assert {name: version for name, version in shown.items() if name != "package"} == dict(required)


def test_the_tests_that_are_run_with_the_lowest_versions_are_there() -> None:
    script = (ROOT / "tools/run-lowest").read_text()
    named = re.findall(r"gearhorn/tests/[\w./*]+", script)
    assert len(named) > 3
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_targets_on_the_performance_page_are_those_of_the_run() -> None:
    page = PAGES["explanation/performance"]
    text = page[page.index("What gearhorn has to reach") : page.index("What bounds it")]
    rows = re.findall(
        r"^\S.*? {2,}([\d,.]+) (?:a|MB|ms|MiB)"
        r".*? {2,}(\S.*?) {2,}([\d.]+) +(?:at \w+|above) ([\d.]+)",
        text,
        re.MULTILINE,
    )
    assert len(rows) > 10
    measured = [
        " ".join(line.split())
        for line in (ROOT / "benchmarks/results/2026-11.txt").read_text("utf-8").splitlines()
    ]
    for figure, beside, ratio, bound in rows:
        pattern = rf"[ (]{re.escape(figure)} .*{re.escape(beside)} .*[ (]{ratio}( .*)? {bound} met$"
        assert any(re.search(pattern, line) for line in measured), (figure, beside)


def test_release_notes_are_notes() -> None:
    # Those of reno.
    sections = {"features", "issues", "upgrade", "deprecations"}
    sections |= {"critical", "security", "fixes", "other"}
    notes = sorted((ROOT / "releasenotes/notes").iterdir())
    assert notes
    for path in notes:
        assert re.fullmatch(r"[a-z0-9-]+-[0-9a-f]{16}\.yaml", path.name), path
        note = yaml.safe_load(path.read_text("utf-8"))
        assert isinstance(note.pop("prelude", ""), str)
        assert note.keys() <= sections, path
        for items in note.values():
            assert all(isinstance(item, str) and item.strip() for item in items), path


def test_hooks_before_a_commit_are_steps_of_ci() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert len(entries) > 4
    ci = (ROOT / ".ci/run").read_text("utf-8").replace('"$venv/bin/', "").replace('"', "")
    for entry in entries:
        assert re.search(rf"(?m)(^|\s){re.escape(entry)}(\s|$)", ci), entry


def test_the_steps_that_contributing_names_are_there() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    environments = {name.partition(":")[2] for name in tox.sections()} - {""} | {"py3"}
    page = PAGES["contributing"].partition("has the same steps")[2].partition("``pre-commit")[0]
    assert set(re.findall(r"^``(\w+)`` ", page, re.MULTILINE)) == environments


def test_the_names_that_the_walks_through_a_change_give_are_in_their_files() -> None:
    page = PAGES["contributing"]
    walks = page[page.index("A first change\n---") : page.index("What a change looks like\n---")]
    checked = 0
    for paragraph in re.split(r"\n\s*\n", walks):
        files = re.findall(r"``(gearhorn/[\w/]+\.py)``", paragraph)
        names = re.findall(r"``(_?[A-Z]\w+|[a-z]\w*_\w+)``", paragraph)
        if files:
            text = "\n".join((ROOT / path).read_text("utf-8") for path in files)
            for name in names:
                assert re.search(rf"\b{name}\b", text), f"{name} is not in {files}"
            checked += len(names)
    assert checked > 15
