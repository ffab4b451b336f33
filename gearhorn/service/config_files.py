# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The configuration files as files: which are read, and what in them cannot be an option."""

import argparse
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg

from gearhorn.service.options import GROUPS


def named_by(arguments: Sequence[str], *, project: str, program: str) -> list[Path]:
    """Return the files that a command line has read, as oslo.config finds them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-file", action="append", default=[])
    parser.add_argument("--config-dir", action="append", default=[])
    given, _ = parser.parse_known_args(arguments)
    files = given.config_file
    if not files and not given.config_dir and "--standalone" not in arguments:
        files = cfg.find_config_files(project, program)
        return list(paths(files, cfg.find_config_dirs(project, program)))
    return list(paths(files, given.config_dir))


def paths(files: Iterable[str], directories: Iterable[str]) -> Iterator[Path]:
    """Yield the configuration files that are named, and those in the directories."""
    yield from (Path(os.path.expanduser(name)) for name in files)
    for directory in directories:
        yield from sorted(Path(os.path.expanduser(directory)).glob("*.conf"))


def wrong_names(path: Path) -> Iterator[str]:
    """Yield a fault for each group and option that does not exist, which oslo.config ignores.

    [DEFAULT] holds oslo.log's options, and names that values refer to with ``$``. Only
    options that belong in another group are refused there.

    :raises cfg.ParseError: the file has another form.
    """
    known = {group.name: {option.dest for option in options} for group, options in GROUPS.items()}
    for title, options in _sections(path).items():
        group = title.lower()
        if group == "default":
            yield from _misplaced(options, known, path)
        elif group not in known:
            yield f"[{title}]: there is no such group, in {path}"
        else:
            for name in options:
                if name not in known[group]:
                    yield f"[{title}] {name}: there is no such option, in {path}"


def homes(files: Iterable[Path]) -> Mapping[tuple[str, str], Path]:
    """Return the file that each option is from, by group and name: the last that has it.

    :raises cfg.ParseError: a file has another form.
    """
    return {
        (title.lower(), name): path
        for path in files
        for title, options in _sections(path).items()
        for name in options
    }


def _sections(path: Path) -> Mapping[str, Mapping[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    cfg.ConfigParser(str(path), sections).parse()
    return sections


def _misplaced(
    options: Iterable[str], known: Mapping[str, Collection[str]], path: Path
) -> Iterator[str]:
    for name in options:
        for group, names in known.items():
            if name in names:
                yield f"[DEFAULT] {name}: this option belongs in [{group}], in {path}"
                break
