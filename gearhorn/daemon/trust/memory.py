# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What this machine remembers of the store while no daemon runs: files in the state directory.

There is one for each job server and name of the function ``fanout``, so that daemons of
several shops can share the directory.
"""

import asyncio
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.identity import tag_of
from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)


class Recalled(NamedTuple):
    """What is remembered: the tags of stores, and a number that the last one has told."""

    tags: frozenset[str]
    number: int


class Memory:
    """The stores that the daemons of this machine have used or waited for."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._directory = settings.state_dir
        self._servers = settings.servers
        self._fanout = settings.functions.fanout
        self._store_url = _without_secrets(settings.store_url)
        self._complained = False

    async def recall(self) -> Recalled:
        """Return what is remembered, for all job servers together."""
        if self._directory is None:
            return Recalled(frozenset(), 0)
        return await asyncio.to_thread(self._recall, self._directory)

    async def remember(self, identities: Collection[str], number: int = 0) -> None:
        """Remember these stores, and no others.

        :param number: the last number that the store told, of which it may not have less
            when a daemon starts again.
        """
        if self._directory is not None:
            await asyncio.to_thread(self._remember, self._directory, sorted(identities), number)

    def _files(self, directory: Path) -> Iterator[tuple[Address, Path]]:
        for server in self._servers:
            name = quote(f"store-{self._fanout}-{server}", safe=":[]")
            # As long as a file's name may be.
            yield server, directory / f"{name[-240:]}.json"

    def _recall(self, directory: Path) -> Recalled:
        tags: set[str] = set()
        number = 0
        for _, path in self._files(directory):
            fault: Exception | None = None
            try:
                content = json.loads(path.read_bytes())
                tags.update(tag_of(str(identity)) for identity in content["identities"])
                number = max(number, int(content["number"]))
            except FileNotFoundError:
                pass
            except (OSError, ValueError, KeyError, TypeError) as error:
                fault = error
            if fault is not None:
                LOG.warning("%s cannot be read, and is passed over: %s", path, fault)
        return Recalled(frozenset(tags), number)

    def _remember(self, directory: Path, identities: Sequence[str], number: int) -> None:
        fault: OSError | None = None
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            for server, path in self._files(directory):
                text = json.dumps(
                    {
                        "job_server": str(server),
                        "function": self._fanout,
                        "store": self._store_url,
                        "identities": identities,
                        "number": number,
                    },
                    indent=2,
                )
                _write(path, f"{text}\n".encode())
        except OSError as error:
            fault = error
        if fault is not None and not self._complained:
            LOG.warning(
                "the state directory cannot be written, so the store is not remembered "
                "over a restart: %s",
                fault,
            )
        self._complained = fault is not None


def _write(path: Path, data: bytes) -> None:
    """Write a file so that there is the old one or the new one, whatever happens."""
    fd, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
