# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon that starts, or runs, and finds its store empty or another: each row of the table."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.command import run
from gearhorn.tests.functional.fleet import SHORT
from gearhorn.tests.functional.store.copies import RedisCopies
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

QUIET_S = 1.5
QUICK: dict[str, float] = {
    "gearhorn.daemon.trust.opening.QUIET_S": QUIET_S,
    "gearhorn.daemon.trust.opening.LOOK_S": 0.1,
}
EMPTIED = "The store was emptied or is another one; jobs wait"
MADE = "the store was empty: made a new one"
SHORT_RECONNECT: dict[str, Any] = {"gearman.reconnect_max": 0.2}
SHOP = hashlib.sha256(b"fanout").hexdigest()[:8]


class Shop:
    """A job server and a Redis, the daemons that use them, and a client."""

    def __init__(self, new_daemon: NewDaemon, gearmand: Gearmand, redis: Redis, client: Peer):
        self._new_daemon = new_daemon
        self.gearmand = gearmand
        self.redis = redis
        self.client = client

    def daemon(self, **options: Any) -> Daemon:
        options = {
            "servers": [self.gearmand],
            "store_url": self.redis.url,
            "key_prefix": "gearhorn:",
            "constants": QUICK,
            **SHORT,
            **options,
        }
        return self._new_daemon(**options)

    def waiting_daemon(self, **options: Any) -> Daemon:
        """One that starts and waits for the store or the word."""
        daemon = self.daemon(wait_ready=False, **options)
        eventually(lambda: EMPTIED in daemon.log)
        assert "READY=1" not in daemon.notifications
        return daemon

    def tag(self, database: int = 0) -> str:
        """The beginning of the identity that the store has, empty if it has none."""
        return identity(self.redis, database)[:8]

    def marks(self) -> dict[str, int]:
        """The marks on the job server, behind those of the shop, and how many show each."""
        prefix = f"__matchmaking_store_{SHOP}_"
        return {
            name.removeprefix(prefix): queue.workers
            for name, queue in self.gearmand.admin.status().items()
            if name.startswith(prefix) and queue.workers
        }

    def until_marked(self, **marks: int) -> None:
        wanted = {name.removeprefix("m"): count for name, count in marks.items()}
        eventually(lambda: self.marks() == wanted)

    def register(self, client_id: str = "bob") -> None:
        request = subscription("memos", client_id)
        assert self.client.submit("register_fanout_subscriber", request).completed

    def queue_fanouts(self, count: int, **options: Any) -> None:
        """Submit background jobs that the job server has acknowledged."""
        for number in range(count):
            request = message("memos", number, background=True)
            self.client.submit("fanout", request, background=True, unique=f"m{number}")

    def fanouts(self) -> int:
        return self.gearmand.admin.queue("fanout").total

    def delivered(self, client_id: str = "bob") -> int:
        return self.gearmand.admin.queue(f"memos_{client_id}").total

    def accept(self, daemon: Daemon, *arguments: str) -> str:
        done = run("--config", daemon.config_file, "--accept-store", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def restore(self, tag: str, *client_ids: str) -> None:
        """What an operator does who has a backup."""
        for client_id in client_ids:
            self.redis.ask("SADD", "gearhorn:topic:memos", client_id)
        self.redis.ask("SET", "gearhorn:identity", tag)


def identity(redis: Redis, database: int = 0) -> str:
    script = "redis.call('SELECT', ARGV[1]) return redis.call('GET', 'gearhorn:identity') or ''"
    return redis.ask("EVAL", script, "0", str(database)).split("\r\n")[1]


def says(daemon: Daemon, text: str) -> None:
    eventually(lambda: text in daemon.log)


@pytest.fixture
def shop(daemon: NewDaemon, gearmand: Gearmand, start: Start, peer: NewPeer) -> Shop:
    return Shop(daemon, gearmand, start(Redis()), peer())


# Nothing is known: a first start.


def test_the_first_daemon_makes_the_store_and_says_so(shop: Shop) -> None:
    one = shop.daemon()
    tag = shop.tag()
    says(one, f"{MADE}, {tag}. Known before: none. Fan-outs waiting: none. Not asked: none")
    shop.until_marked(**{tag: 1})
    other = shop.daemon()
    shop.until_marked(**{tag: 2})
    assert MADE not in other.log
    assert "WARNING" not in other.log
    # The last one takes the mark along.
    one.stop()
    shop.until_marked(**{tag: 1})
    other.stop()
    eventually(lambda: not any("_store_" in name for name in shop.gearmand.admin.status()))


def test_several_first_starts_at_once_make_one_store(shop: Shop) -> None:
    daemons = [shop.daemon(wait_ready=False) for _ in range(4)]
    for daemon in daemons:
        daemon.wait_ready()
    shop.until_marked(**{shop.tag(): 4})
    assert sum(MADE in daemon.log for daemon in daemons) == 1
    shop.register()


def test_where_fanouts_wait_a_store_is_made_only_after_a_while(shop: Shop) -> None:
    shop.queue_fanouts(3)
    one = shop.daemon(wait_ready=False)
    says(one, f"3 on {shop.gearmand.address}): looking for other daemons for {QUIET_S:g} seconds")
    assert shop.tag() == ""
    one.wait_ready()
    says(one, f"Fan-outs waiting: 3 on {shop.gearmand.address}. Not asked: none")
    eventually(lambda: not shop.fanouts())


def test_the_while_is_longer_where_daemons_find_a_job_server_later(shop: Shop) -> None:
    shop.queue_fanouts(1)
    one = shop.daemon(wait_ready=False, **{"gearman.reconnect_max": 20})
    says(one, f"looking for other daemons for {2 * QUIET_S:g} seconds")
    one.wait_ready()


def test_a_job_server_that_cannot_be_asked_is_named(
    shop: Shop, daemon: NewDaemon, gearmand: Gearmand
) -> None:
    away = f"127.0.0.1:{free_port()}"
    one = daemon(servers=[gearmand, away], store_url=shop.redis.url)
    says(one, f"Not asked: {away}")


def test_after_a_reboot_the_first_daemon_waits_for_the_others(shop: Shop, peer: NewPeer) -> None:
    # The job server lists the fan-outs at once, and the daemon that knows the store later.
    shop.queue_fanouts(3)
    one = shop.daemon(
        wait_ready=False, constants={**QUICK, "gearhorn.daemon.trust.opening.QUIET_S": 60}
    )
    says(one, "looking for other daemons for 60 seconds")
    worker = peer()
    worker.can_do(f"__matchmaking_store_{SHOP}_1a2b3c4d")
    says(one, EMPTIED)
    assert "it is empty; known here: 1a2b3c4d" in one.log
    shop.until_marked(**{"1a2b3c4d": 1, "1a2b3c4d_waits": 1})
    assert shop.tag() == ""
    assert shop.fanouts() == 3


def test_a_job_server_must_have_answered_before_a_store_is_made(
    shop: Shop, daemon: NewDaemon, start: Start
) -> None:
    gearmand = Gearmand()
    one = daemon(
        servers=[gearmand],
        store_url=shop.redis.url,
        key_prefix="gearhorn:",
        wait_ready=False,
        **SHORT_RECONNECT,
    )
    says(one, f"job server {gearmand.address}: away")
    assert shop.tag() == ""
    start(gearmand)
    one.wait_ready()
    assert shop.tag() != ""


def test_a_store_that_refuses_is_named_though_no_job_server_is_there(
    daemon: NewDaemon, start: Start
) -> None:
    redis = start(Redis(requirepass="secret"))
    one = daemon(servers=[f"127.0.0.1:{free_port()}"], store_url=redis.url, wait_ready=False)
    assert one.wait() == 78


# An identity, and nothing known.


def test_a_store_from_before_is_used(shop: Shop) -> None:
    one = shop.daemon()
    shop.register()
    one.stop()
    shop.queue_fanouts(2)
    other = shop.daemon()
    # Nobody can tell whether it is the right one.
    says(other, f"no daemon is there that knows the store {shop.tag()}")
    eventually(lambda: shop.delivered() == 2)


# Something is known.


def test_an_emptied_store_beside_a_daemon_that_lives_is_not_made_anew(
    shop: Shop, peer: NewPeer
) -> None:
    one = shop.daemon()
    shop.register()
    before = identity(shop.redis)
    tag = before[:8]
    shop.redis.ask("FLUSHALL")
    says(one, EMPTIED)
    shop.until_marked(**{f"{tag}_waits": 1})
    shop.queue_fanouts(50)

    other = shop.waiting_daemon()
    shop.until_marked(**{f"{tag}_waits": 2})
    # The jobs that it held go back, and nobody takes them for a message without subscribers.
    one.kill()
    shop.until_marked(**{f"{tag}_waits": 1})
    third = shop.waiting_daemon()
    other.kill()
    fourth = shop.waiting_daemon()
    eventually(lambda: shop.gearmand.admin.queue("fanout") == (50, 0, 0))
    # It answers queries meanwhile, and takes nothing else.
    outcome = peer().submit("fanout_query", {"query": "status"})
    assert outcome.report["rows"][0]["store_fault"] == "store_replaced"
    assert shop.gearmand.admin.queue("register_fanout_subscriber").workers == 0
    assert shop.tag() == ""

    shop.restore(before, "bob")
    for daemon in (third, fourth):
        daemon.wait_ready()
    eventually(lambda: shop.delivered() == 50)
    shop.until_marked(**{tag: 2})
    shop.register("alice")


def test_a_store_that_is_emptied_before_the_daemon_has_joined_is_waited_for(shop: Shop) -> None:
    shop.daemon().stop()
    tag = shop.tag()
    # The store can be opened, and no entry made.
    shop.redis.ask("SET", "gearhorn:daemons", "no hash")
    one = shop.daemon(wait_ready=False)
    says(one, "The store refuses; jobs wait")
    shop.until_marked(**{tag: 1})

    shop.redis.ask("FLUSHALL")

    says(one, EMPTIED)
    shop.until_marked(**{f"{tag}_waits": 1})
    outcome = shop.client.submit("fanout_query", {"query": "status"})
    assert outcome.report["rows"][0]["store_fault"] == "store_replaced"
    shop.accept(one)
    one.wait_ready()
    shop.until_marked(**{shop.tag(): 1})


def test_another_database_is_not_used_beside_daemons_that_live(shop: Shop) -> None:
    url = shop.redis.url.removesuffix("/0") + "/1"
    # An old try.
    shop.daemon(store_url=url).stop()
    old = shop.tag(1)
    one = shop.daemon()
    shop.register()

    other = shop.waiting_daemon(store_url=url)
    assert f"it is the store {old}; known here: {shop.tag()}" in other.log
    one.pause()
    outcome = shop.client.submit("fanout_query", {"query": "topics"})
    assert outcome.refusal == "store_replaced"
    one.resume()
    shop.queue_fanouts(20)
    eventually(lambda: shop.delivered() == 20)
    # What it was told first holds also when nobody else is left.
    one.stop()
    third = shop.waiting_daemon(store_url=url)
    shop.queue_fanouts(5)
    for daemon in (other, third):
        assert daemon.stop() == 0
    assert shop.fanouts() == 5


def test_a_daemon_goes_on_when_its_store_was_accepted(shop: Shop) -> None:
    one = shop.daemon()
    shop.register()
    old = shop.tag()
    shop.redis.ask("FLUSHALL")
    says(one, EMPTIED)
    shop.until_marked(**{f"{old}_waits": 1})
    other = shop.waiting_daemon()

    said = shop.accept(one)
    new = shop.tag()
    assert said == f"the store {new} was empty and is a new one now, in place of {old}\n"
    other.wait_ready()
    for daemon in (one, other):
        says(daemon, f"going on with the store {new} in place of {old}")
    says(one, "dropping all cached lists and joining again")
    shop.until_marked(**{new: 2})
    shop.register()
    assert shop.client.submit("fanout", message("memos", background=True)).report["queued"] == 1
    # The word is in the store, for those that come later.
    assert shop.accept(one) == f"nothing was changed: no store is known that {new} would replace\n"


def test_what_cannot_be_rebuilt_is_accepted_as_it_is(shop: Shop) -> None:
    one = shop.daemon()
    shop.register()
    shop.redis.ask("DEL", "gearhorn:topic:memos", "gearhorn:claims")
    handle = shop.client.start("fanout", message("memos", background=True))
    says(one, "A part of the store is gone and cannot be rebuilt; jobs wait")

    said = shop.accept(one)
    assert said == (
        f"no store is known that {shop.tag()} would replace; topic 'memos' could not be rebuilt "
        "and has no subscribers now\n"
    )
    assert shop.client.finish(handle).report["subscribers"] == 0


def test_a_store_is_not_accepted_while_another_is_served(shop: Shop, peer: NewPeer) -> None:
    url = shop.redis.url.removesuffix("/0") + "/1"
    one = shop.daemon()
    other = shop.waiting_daemon(store_url=url)
    done = run("--config", other.config_file, "--accept-store")
    assert (done.returncode, done.stdout) == (69, "")
    assert f"{one.worker_id} serves from the store {shop.tag()}" in done.stderr
    assert shop.tag(1) == ""

    # A ghost, which the job server lists though its host is gone.
    ghost = peer()
    ghost.can_do(f"__matchmaking_store_{SHOP}_{shop.tag()}")
    one.stop()
    done = run("--config", other.config_file, "--accept-store")
    assert done.returncode == 69
    assert f"add --despite {shop.tag()}" in done.stderr
    assert "in place of" in shop.accept(other, "--despite", shop.tag())
    other.wait_ready()
    # A daemon that lives on the old one names the other, and is named.
    shop.until_marked(**{shop.tag(): 1, shop.tag(1): 1})
    says(other, f"from the store {shop.tag()}, this one from {shop.tag(1)}")


def test_a_store_cannot_be_accepted_where_no_job_server_or_store_answers(
    shop: Shop, tmp_path: Path
) -> None:
    def accept(server: str, url: str) -> str:
        path = tmp_path / "gearhorn.conf"
        path.write_text(f"[gearman]\nservers = {server}\n[store]\nurl = {url}\n")
        done = run("--config", path, "--accept-store")
        assert done.returncode == 69
        return done.stderr

    nowhere = f"127.0.0.1:{free_port()}"
    assert "no job server answers" in accept(nowhere, shop.redis.url)
    assert "Redis: " in accept(shop.gearmand.address, f"redis://{nowhere}/0")


def test_a_daemon_that_serves_from_another_store_is_named(shop: Shop, peer: NewPeer) -> None:
    daemons = [shop.daemon() for _ in range(2)]
    worker = peer()
    worker.can_do(f"__matchmaking_store_{SHOP}_00000000_waits")
    worker.can_do(f"__matchmaking_store_{SHOP}_1a2b3c4d")
    for daemon in daemons:
        says(daemon, f"from the store 1a2b3c4d, this one from {shop.tag()}")
        # One that waits does no harm.
        assert "00000000" not in daemon.log


def put_back(source: Path, directory: Path) -> None:
    """Copy a directory, also if a file of it goes away meanwhile."""
    copy = directory.with_name("copy")
    while True:
        try:
            shutil.copytree(source, copy)
        except shutil.Error:
            shutil.rmtree(copy)
        else:
            break
    copy.rename(directory)


def test_a_file_that_is_gone_is_not_made_anew(shop: Shop, tmp_path: Path) -> None:
    directory = tmp_path / "store"
    options: dict[str, Any] = {"store_url": f"sqlite://{directory}/store.db"}
    one = shop.daemon(**options)
    shop.register()
    (mark,) = shop.marks()
    directory.rename(tmp_path / "away")
    says(one, EMPTIED)
    shop.until_marked(**{f"{mark}_waits": 1})
    other = shop.waiting_daemon(**options)
    shop.until_marked(**{f"{mark}_waits": 2})
    assert not directory.exists()
    shop.queue_fanouts(5)

    # A copy from a backup is another file, and the same store.
    put_back(tmp_path / "away", directory)
    other.wait_ready()
    eventually(lambda: shop.delivered() == 5)
    shop.until_marked(**{mark: 2})

    shutil.rmtree(directory)
    says(one, EMPTIED)
    shop.until_marked(**{f"{mark}_waits": 2})
    assert f"in place of {mark}" in shop.accept(one)
    for daemon in (one, other):
        says(daemon, f"in place of {mark}")
    shop.register()


def test_a_mark_on_one_of_two_job_servers_is_enough(shop: Shop, start: Start) -> None:
    further = start(Gearmand())
    shop.daemon()
    url = shop.redis.url.removesuffix("/0") + "/1"
    other = shop.waiting_daemon(store_url=url, servers=[further, shop.gearmand])
    assert f"known here: {shop.tag()}" in other.log
    # It shows what it knows on both, for those who reach the other one only.
    third = shop.waiting_daemon(store_url=url, servers=[further])
    assert f"known here: {shop.tag()}" in third.log


# Whose store forgets, or is not to be made.


def test_a_store_that_is_never_made_waits_for_the_word(shop: Shop) -> None:
    one = shop.waiting_daemon(**{"store.create": "never"})
    assert "it is empty, and making a new one is not allowed" in one.log
    assert "is a new one now, in place of none" in shop.accept(one)
    one.wait_ready()


def test_a_store_that_may_forget_is_made_anew_whatever_is_known(shop: Shop) -> None:
    one = shop.daemon(**{"store.create": "always"})
    shop.register()
    old = shop.tag()
    shop.redis.ask("FLUSHALL")
    says(one, f"in place of {old}")
    new = shop.tag()
    says(one, f"{MADE}, {new}. Known before: {old}.")
    shop.register("alice")
    # It is not to make one anew first.
    one.kill()
    shop.redis.ask("FLUSHALL")
    other = shop.daemon(**{"store.create": "always"})
    says(other, f"{MADE}, {shop.tag()}.")
    shop.register("alice")


# The state directory.


def remembered(directory: Path) -> list[list[str]]:
    return [json.loads(path.read_text())["identities"] for path in directory.iterdir()]


@pytest.mark.parametrize("where", ["option", "environment"])
def test_a_machine_remembers_its_store(shop: Shop, tmp_path: Path, where: str) -> None:
    directory = tmp_path / "state"
    options: dict[str, Any] = {"service.state_dir": directory}
    if where == "environment":
        options = {"environment": {"STATE_DIRECTORY": f"{directory}:{tmp_path}"}}
    one = shop.daemon(**options)
    before = identity(shop.redis)
    assert remembered(directory) == [[before]]
    assert "secret" not in "".join(path.read_text() for path in directory.iterdir())
    one.stop()
    shop.redis.ask("FLUSHALL")

    # Nobody else is there who knows it.
    other = shop.waiting_daemon(**options)
    assert f"it is empty; known here: {before[:8]}" in other.log
    assert remembered(directory) == [[before[:8]]]
    other.kill()
    third = shop.waiting_daemon(**options)
    shop.accept(third)
    third.wait_ready()
    assert remembered(directory) == [[identity(shop.redis)]]
    third.stop()
    shop.daemon(**options)


def test_a_machine_remembers_how_far_its_store_was(shop: Shop, tmp_path: Path) -> None:
    options: dict[str, Any] = {"service.state_dir": tmp_path / "state"}
    one = shop.daemon(**options)
    shop.register("bob")
    copies = RedisCopies(shop.redis)
    asyncio.run(copies.take())
    shop.register("alice")
    one.stop()

    # An old dump, brought back while nobody runs.
    asyncio.run(copies.bring_back())
    says(shop.daemon(**options), "The store went back to an older state")


def test_a_state_directory_that_cannot_be_used_is_no_reason_to_end(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    one = shop.daemon(**{"service.state_dir": tmp_path / "file"})
    says(one, "so the store is not remembered over a restart")
    shop.register()


def test_a_damaged_memory_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    directory = tmp_path / "state"
    shop.daemon(**{"service.state_dir": directory}).stop()
    for text in ("{", "[]", '{"identities": 1}'):
        (path,) = directory.iterdir()
        path.write_text(text)
        one = shop.daemon(**{"service.state_dir": directory})
        says(one, f"{path} cannot be read, and is passed over")
        assert remembered(directory) == [[identity(shop.redis)]]
        one.stop()


# No shop that did nothing wrong is locked out.


def test_two_shops_on_one_job_server_do_not_know_each_other(shop: Shop, start: Start) -> None:
    one = shop.daemon()
    names = ("register", "subscribe", "unregister", "unsubscribe", "fanout", "query")
    others = {f"functions.{name}": f"other_{name}" for name in names}
    redis = start(Redis())
    two = shop.daemon(store_url=redis.url, **others)
    for daemon in (one, two):
        assert MADE in daemon.log
    shop.until_marked(**{shop.tag(): 1})


def test_all_daemons_are_stopped_and_started(shop: Shop, tmp_path: Path) -> None:
    daemons = [shop.daemon(**{"service.state_dir": tmp_path / str(n)}) for n in range(3)]
    shop.register()
    for daemon in daemons:
        daemon.stop()
    shop.queue_fanouts(3)
    for daemon in daemons:
        daemon.start(wait_ready=False)
    for daemon in daemons:
        daemon.wait_ready()
    eventually(lambda: shop.delivered() == 3)
    assert not any(EMPTIED in daemon.log for daemon in daemons)


def test_a_rolling_restart(shop: Shop) -> None:
    daemons = [shop.daemon() for _ in range(3)]
    shop.register()
    for daemon in daemons:
        daemon.stop()
        shop.queue_fanouts(1)
        daemon.start()
    eventually(lambda: shop.delivered() >= 1)
    assert not any(EMPTIED in daemon.log for daemon in daemons)
    shop.until_marked(**{shop.tag(): 3})


def test_a_ghost_of_the_same_store_locks_nobody_out(shop: Shop, peer: NewPeer) -> None:
    one = shop.daemon()
    ghost = peer()
    ghost.can_do(f"__matchmaking_store_{SHOP}_{shop.tag()}")
    one.kill()
    shop.daemon()
    shop.until_marked(**{shop.tag(): 2})


# The end.


def test_a_daemon_that_is_stopped_while_it_waits_warns(shop: Shop) -> None:
    one = shop.daemon(**{"service.drain_timeout": 0.1})
    shop.redis.ask("FLUSHALL")
    says(one, EMPTIED)
    shop.queue_fanouts(2)
    eventually(lambda: shop.gearmand.admin.queue("fanout").running == 2)
    assert one.stop() == 0
    assert re.search(
        r"WARNING .*told to stop while the store is not .*: handing back 2 jobs", one.log
    )
    assert shop.fanouts() == 2
