# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A base class for objects that close themselves at the end of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

Some = TypeVar("Some", bound="Closing")


class Closing:
    """Closes itself at the end of its block."""

    def __enter__(self: Some) -> Some:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError
