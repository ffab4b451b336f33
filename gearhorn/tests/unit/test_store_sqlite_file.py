# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What an error of the file of an SQLite store is taken for."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from gearhorn import errors
from gearhorn.store.identity import Terms
from gearhorn.store.sqlite_file import SQLiteFile


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EROFS, errors.StoreFull),
        (errno.ENOSPC, errors.StoreFull),
        (errno.EDQUOT, errors.StoreFull),
        (errno.EIO, errors.StoreAway),
        (errno.ESTALE, errors.StoreAway),
        (errno.ETIMEDOUT, errors.StoreAway),
        (errno.EMFILE, errors.StoreAway),
        (errno.EACCES, errors.StoreMisconfigured),
        (errno.EPERM, errors.StoreMisconfigured),
        (errno.ENOTDIR, errors.StoreMisconfigured),
        (errno.ELOOP, errors.StoreMisconfigured),
        (errno.ENAMETOOLONG, errors.StoreMisconfigured),
    ],
)
@pytest.mark.parametrize("call", ["makedirs", "open"])
def test_what_may_heal_is_told_from_what_does_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    kind: type[errors.StoreError],
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(errors.StoreError, match=os.strerror(number)) as raised:
        SQLiteFile(str(tmp_path / "made" / "store.db"), 1).open((), Terms.MAKE)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("database is locked", errors.StoreAway),
        ("disk I/O error", errors.StoreAway),
        ("database or disk is full", errors.StoreFull),
        ("attempt to write a readonly database", errors.StoreFull),
        ("unable to open database file", errors.StoreMisconfigured),
        ("database disk image is malformed", errors.StoreMisconfigured),
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_what_sqlite_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writable: bool,
    text: str,
    kind: type[errors.StoreError],
) -> None:
    file = SQLiteFile(str(tmp_path / "store.db"), 1)
    file.open((), Terms.MAKE)

    def fail(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError(text)

    # root, as whom the tests may run, is refused nothing.
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    if "readonly" in text and not writable:
        kind = errors.StoreMisconfigured
    with pytest.raises(errors.StoreError, match=text) as raised:
        file.read(fail)
    assert type(raised.value) is kind
    file.close()
