# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The reader of a journal for programs with threads: the asynchronous one, run in a thread."""

import ssl
from collections.abc import Iterable, Iterator
from types import TracebackType

from gearhorn.client.journal.asking import ANSWER_TIMEOUT_S
from gearhorn.client.journal.async_reader import AsyncReader
from gearhorn.client.journal.entries import Entry
from gearhorn.client.loop_thread import LoopThread
from gearhorn.messages import FunctionNames
from gearhorn.wire.connection import ConnectionSettings


class Reader:
    """A reader of a topic's journal, for programs with threads: ``for entry in reader``.

    Parameters and errors are those of :class:`AsyncReader`. Close it with :meth:`close`, or
    use it as a context manager.
    """

    def __init__(
        self,
        servers: str | Iterable[str],
        topic: str,
        *,
        after: int = 0,
        journal: str | None = None,
        follow: bool = False,
        connect_timeout: float = ConnectionSettings.connect_timeout,
        timeout: float = ANSWER_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        function: str = FunctionNames.read,
    ) -> None:
        self._reader = AsyncReader(
            servers,
            topic,
            after=after,
            journal=journal,
            follow=follow,
            connect_timeout=connect_timeout,
            timeout=timeout,
            tls=tls,
            function=function,
        )
        self._thread = LoopThread("gearhorn reader")

    @property
    def after(self) -> int:
        """The sequence of the message that was read last."""
        return self._reader.after

    @property
    def journal(self) -> str | None:
        """The id of the journal that it belongs to."""
        return self._reader.journal

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, from any thread. An iteration that waits raises ``Closed``."""
        self._thread.stop(self._reader.close)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the messages, as :class:`AsyncReader` does."""
        reader = self._reader
        end: int | None = None
        while True:
            entries, end = self._thread.run(reader.page(end))
            for entry in entries:
                reader.after, reader.journal = entry.sequence, entry.journal
                yield entry
            if not reader.follow and reader.after >= end:
                return
