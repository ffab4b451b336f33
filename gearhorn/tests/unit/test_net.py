# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Names that are slow, addresses that swallow what they are sent, TLS files that are renewed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gearhorn import errors
from gearhorn.net import connecting, resolver, tls
from gearhorn.tests.processes import free_port
from gearhorn.tests.swallowing import Swallowing


class Names:
    """Stands for ``socket.getaddrinfo()``: every name is slow until it is told otherwise."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.go_on = threading.Event()
        self.addresses: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int, **hints: int) -> list[resolver.AddressInfo]:
        self.asked.append(host)
        self.threads.add(threading.current_thread())
        assert self.go_on.wait(10)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where) for where in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    fake = Names()
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    yield fake
    fake.go_on.set()
    for thread in fake.threads:
        thread.join(10)


async def begun(names: Names, count: int) -> None:
    while len(names.asked) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_why_nobody_can_be_reached_is_said_in_words() -> None:
    with pytest.raises(ConnectionRefusedError) as refused:
        await connecting.open_socket("127.0.0.1", free_port())
    assert connecting.describe(refused.value) == "connection refused"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "[SSL: WRONG_VERSION_NUMBER] wrong"),
        (OSError("Multiple exceptions: one, two"), "Multiple exceptions: one, two"),
        (asyncio.TimeoutError(), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_words_are_those_of_the_system(error: BaseException, text: str) -> None:
    assert connecting.describe(error) == text


async def test_whoever_asks_for_a_name_waits_for_the_same_lookup(names: Names) -> None:
    asking = [asyncio.ensure_future(resolver.resolve("slow.example", 1)) for _ in range(50)]
    other = asyncio.ensure_future(resolver.resolve("other.example", 1))
    await begun(names, 2)
    names.addresses = [("192.0.2.1", 1)]
    # One gives up: the others still get the answer.
    asking.pop().cancel()
    await asyncio.sleep(0)
    names.go_on.set()
    for found in await asyncio.gather(*asking, other):
        assert [info[4] for info in found] == [("192.0.2.1", 1)]
    assert sorted(names.asked) == ["other.example", "slow.example"]
    # What has ended is asked for anew.
    await resolver.resolve("slow.example", 1)
    assert names.asked.count("slow.example") == 2


async def test_a_name_that_is_not_there_is_an_oserror(names: Names) -> None:
    names.go_on.set()
    with pytest.raises(OSError, match="not known"):
        await resolver.resolve("nowhere.example", 1)
    with pytest.raises(OSError, match="not known"):
        await connecting.open_socket("nowhere.example", 1)


def test_a_slow_name_holds_up_neither_the_loop_nor_its_end(names: Names) -> None:
    async def ask() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(resolver.resolve("slow.example", 1), 0.01)

    asyncio.run(ask())
    assert names.asked == ["slow.example"]
    (thread,) = names.threads
    assert thread.daemon
    assert thread.is_alive()


def start_no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_an_address_needs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)
    for host in ("127.0.0.1", "::1"):
        assert (await resolver.resolve(host, 4730))[0][4][:2] == (host, 4730)


async def test_no_thread_for_a_lookup_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)
    for _ in range(2):
        with pytest.raises(OSError, match=r"name\.example cannot be looked up: can't start"):
            await resolver.resolve("name.example", 1)


async def test_an_address_that_swallows_everything_is_not_the_only_one(names: Names) -> None:
    names.go_on.set()
    swallowing = Swallowing()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names.addresses = [("127.0.0.2", swallowing.port), ("127.0.0.1", port)]
    try:
        connected = await asyncio.wait_for(connecting.open_socket("two.example", 1), 5)
        assert connected.getpeername() == ("127.0.0.1", port)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not connected.getblocking()
        connected.close()
    finally:
        server.close()
        swallowing.close()


# TLS files.


class Pair:
    """The certificate and the key of a client, and its authority, in files."""

    def __init__(self, directory: Path) -> None:
        self.ca = directory / "ca.pem"
        self.cert = directory / "client.pem"
        self.key = directory / "client.key"
        self._times = 0
        self.renew()

    def renew(self, *, cert: bool = True, key: bool = True) -> None:
        authority = trustme.CA()
        client = authority.issue_cert("client.example")
        authority.cert_pem.write_to_path(str(self.ca))
        if cert:
            client.cert_chain_pems[0].write_to_path(str(self.cert))
        if key:
            client.private_key_pem.write_to_path(str(self.key))
        # However coarse the times of the file system are.
        self._times += 1
        for path in (self.ca, self.cert, self.key):
            os.utime(path, ns=(self._times, self._times))

    def files(self) -> tls.TLSFiles:
        return tls.TLSFiles(str(self.ca), str(self.cert), str(self.key))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_files_that_have_changed_are_read_again(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = pair.files()
    first = files.context()
    assert files.context() is first
    pair.renew()
    second = files.context()
    assert second is not first
    assert second.get_ca_certs() != first.get_ca_certs()
    assert files.context() is second
    assert caplog.text.count("were read again") == 1


def test_a_renewal_that_is_half_done_changes_nothing_yet(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    files = pair.files()
    first = files.context()
    pair.renew(key=False)
    for _ in range(3):
        assert files.context() is first
    assert caplog.text.count("cannot be used yet") == 1
    pair.key.unlink()
    assert files.context() is first
    pair.renew()
    assert files.context() is not first


def test_the_users_own_context_is_renewed_as_well(pair: Pair) -> None:
    given = tls.tls_context(str(pair.ca), str(pair.cert), str(pair.key))
    assert given is not None
    assert tls.for_connection(given) is given
    pair.renew()
    renewed = tls.for_connection(given)
    assert renewed is not given
    assert tls.for_connection(given) is renewed
    assert tls.for_connection(None) is None
    # One that the user has made is used as it is.
    own = ssl.create_default_context()
    assert tls.for_connection(own) is own


def test_files_that_cannot_be_read_at_first_are_an_error(pair: Pair) -> None:
    pair.renew(cert=False)
    with pytest.raises(errors.ConfigurationError, match="TLS cannot be set up with"):
        pair.files()
    with pytest.raises(errors.ConfigurationError, match="need tls_ca"):
        tls.tls_context(None, str(pair.cert))


def test_names_are_checked_unless_told_otherwise(pair: Pair) -> None:
    context = pair.files().context()
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    unchecked = tls.TLSFiles(str(pair.ca), check_name=False).context()
    assert not unchecked.check_hostname
    assert unchecked.verify_mode == ssl.CERT_REQUIRED
    assert tls.TLSFiles(None, verify=False).context().verify_mode == ssl.CERT_NONE
