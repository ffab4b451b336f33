# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file of ``log_config_append``, told without opening a log.

The file has the form that :func:`logging.config.fileConfig` reads. That function names the first
fault only, and makes each log file on its way. Here sections are looked up and values evaluated as
there, but no handler is made.
"""

import configparser
import contextlib
import inspect
import logging
import logging.handlers
import os
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any


class _Wrong(Exception):
    """A part of the file that logging would not take."""


def faults(path: str, *, places: bool) -> Iterator[str]:
    """Yield what is wrong with the file.

    :param places: look also if the files of logs could be made.
    """
    parser = configparser.ConfigParser()
    try:
        with open(path) as file:
            parser.read_file(file)
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror}"
        return
    except (configparser.Error, UnicodeDecodeError) as error:
        yield f"{path}: {_sentence(error)}"
        return
    for fault in _File(parser, places).faults():
        yield f"{path}: {fault}"


class _File:
    def __init__(self, parser: configparser.ConfigParser, places: bool) -> None:
        self._parser = parser
        self._places = places

    def faults(self) -> Iterator[str]:
        names: dict[str, list[str]] = {}
        for kind in ("formatters", "handlers", "loggers"):
            try:
                keys = self._value(kind, "keys")
            except _Wrong as wrong:
                yield str(wrong)
            else:
                names[kind] = _names(keys)
        for name in names.get("formatters", ()):
            yield from self._formatter(f"formatter_{name}")
        for name in names.get("handlers", ()):
            yield from self._handler(f"handler_{name}", names)
        loggers = names.get("loggers")
        if loggers is not None and "root" not in loggers:
            yield "[loggers] keys: root is missing"
        for name in loggers or ():
            yield from self._logger(f"logger_{name}", names)

    def _formatter(self, section: str) -> Iterator[str]:
        try:
            name = self._get(section, "class") or "logging.Formatter"
            with _said(f"[{section}] class"):
                kind = _resolved(name)
            format_, date, style = (
                self._get(section, key, raw=True) for key in ("format", "datefmt", "style")
            )
            with _said(f"[{section}]"):
                kind(format_, date, "%" if style is None else style)
        except _Wrong as wrong:
            yield str(wrong)

    def _handler(self, section: str, names: Mapping[str, Collection[str]]) -> Iterator[str]:
        try:
            name = self._value(section, "class")
            with _said(f"[{section}] class"):
                kind = _handler_class(name)
            arguments = self._evaluated(section, "args", "()")
            named = self._evaluated(section, "kwargs", "{}")
            with _said(f"[{section}] args"):
                bound = _bound(kind, arguments, named)
                if self._places and _is_a(kind, logging.FileHandler):
                    _check_place(bound.get("filename"))
            self._check_level(section)
            self._check_named(section, "formatter", names.get("formatters"))
            if _is_a(kind, logging.handlers.MemoryHandler):
                self._check_named(section, "target", names.get("handlers"))
        except _Wrong as wrong:
            yield str(wrong)

    def _logger(self, section: str, names: Mapping[str, Collection[str]]) -> Iterator[str]:
        try:
            if section != "logger_root":
                self._value(section, "qualname")
                with _said(f"[{section}] propagate"):
                    self._section(section).getint("propagate", fallback=1)
            self._check_level(section)
            listed = self._value(section, "handlers")
            for name in _names(listed):
                _check_known(f"[{section}] handlers", "handler", name, names.get("handlers"))
        except _Wrong as wrong:
            yield str(wrong)

    def _check_level(self, section: str) -> None:
        level = self._get(section, "level")
        if level is not None and not isinstance(logging.getLevelName(level), int):
            raise _Wrong(f"[{section}] level: {level or 'nothing'} is no level")

    def _check_named(self, section: str, key: str, known: Collection[str] | None) -> None:
        if name := self._get(section, key):
            what = "handler" if key == "target" else key
            _check_known(f"[{section}] {key}", what, name, known)

    def _section(self, name: str) -> configparser.SectionProxy:
        if not self._parser.has_section(name):
            raise _Wrong(f"[{name}]: there is no such section")
        return self._parser[name]

    def _get(self, section: str, key: str, *, raw: bool = False) -> str | None:
        values = self._section(section)
        with _said(f"[{section}] {key}"):
            return values.get(key, raw=raw)

    def _value(self, section: str, key: str) -> str:
        value = self._get(section, key)
        if value is None:
            raise _Wrong(f"[{section}] {key}: it is missing")
        return value

    def _evaluated(self, section: str, key: str, default: str) -> Any:
        text = self._get(section, key)
        with _said(f"[{section}] {key}"):
            # As logging does: the file is as trusted as the program.
            return eval(default if text is None else text, dict(vars(logging)))


@contextlib.contextmanager
def _said(part: str) -> Iterator[None]:
    """Turn whatever is raised for a part of the file into a fault of that part."""
    try:
        yield
    except _Wrong as wrong:
        raise _Wrong(f"{part}: {wrong}") from None
    except Exception as error:
        raise _Wrong(f"{part}: {_sentence(error)}") from None


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")] if listed else []


def _check_known(part: str, what: str, name: str, known: Collection[str] | None) -> None:
    if known is not None and name not in known:
        raise _Wrong(f"{part}: there is no {what} {name}")


def _handler_class(name: str) -> Any:
    try:
        # A path that begins with an attribute of the module logging, as handlers.SysLogHandler.
        return eval(name, dict(vars(logging)))
    except (AttributeError, NameError):
        return _resolved(name)


def _resolved(name: str) -> Any:
    """Return what a dotted path names, as logging resolves it."""
    first, *others = name.split(".")
    path = first
    found = import_module(first)
    for other in others:
        path = f"{path}.{other}"
        try:
            found = getattr(found, other)
        except AttributeError:
            import_module(path)
            found = getattr(found, other)
    return found


def _bound(kind: Any, arguments: Any, named: Any) -> Mapping[str, Any]:
    """Return the arguments of a handler by name.

    :raises TypeError: it does not take them.
    """
    try:
        signature = inspect.signature(kind)
    except ValueError:
        # One that is not written in Python may not tell.
        return {}
    return signature.bind(*arguments, **named).arguments


def _is_a(kind: Any, base: type) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base)


def _check_place(filename: Any) -> None:
    if filename is None:
        return
    path = os.path.abspath(os.fspath(filename))
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise _Wrong(f"there is no directory {directory}")
    if os.path.isdir(path):
        raise _Wrong(f"{path} is a directory")
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise _Wrong(f"{path} cannot be written")


def _sentence(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
