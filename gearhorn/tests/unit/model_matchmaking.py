# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The matchmaking protocol as a small machine, of which every state is looked at.

Two daemons share a store and one topic. A takes a registration: it changes the set, reads who
the daemons are, sends a notice, waits for the answer or for the lease to end, and answers. B
reads the list, keeps it, renews its entry, takes notices, and joins again where its entry is
gone. Each step stands alone, so that any other can come between, and time passes between any
two. What may happen beside: one crash of A or B, a freeze of either for any time (it takes no
step), A reaps B's entry, an operator removes it by hand, the store restarts without the
entries or throws them away, and the client asks B for the registration again.

Times are kept as ages, none of which matters beyond a bound: so the states are finite, and time
is not. ``explore`` visits all of them; ``without`` leaves rules of the protocol out.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

TTL = 2
"""For how many ticks a list may be used; a change waits as long for a silent daemon."""
DAEMON_TTL = 4
NEVER = 2 * TTL + 1
"""An age at which a restart of the store no longer matters."""

RULES = {
    "lease wait": "a change that B has not confirmed is answered only when lists are too old",
    "lease end": "a list is used until it is too old, and no longer",
    "disturbed reads": "a list that a notice overtakes is not kept",
    "asked after": "a list that is not kept serves only what was taken before it was asked for",
    "reader known": "a list is kept only if B's entry stood when it was read",
    "keep until": "a list is kept only if B's entry cannot be reaped before the list is too old",
    "confirm first": "a registration that changes nothing waits for the word on the last change",
    "drop own": "a daemon that confirms a change drops its own list",
    "bar": "an entry that is removed by hand stands until lists are too old",
    "restart": "after a restart of the store no change is answered early",
    "own entry": "nor after A found that its own entry is gone, since that of B may be, too",
}
"""The rules that can be left out, each by its name."""


class Read(NamedTuple):
    """A question to the store."""

    age: int
    asked: bool = True
    """It has not reached the store yet."""
    version: int = 0
    known: bool = False
    disturbed: bool = False


class Claim(NamedTuple):
    """A renewal, or a join."""

    join: bool
    age: int = 0
    done: bool | None = None
    """The answer of the store."""


_REFUSED = Claim(join=False, done=False)


class State(NamedTuple):
    """All that there is."""

    # The store.
    version: int = 0
    """0 before the registration is stored, 1 after."""
    confirmed: bool = False
    entry: bool = True
    barred: int | None = None
    """The time since an operator barred B's entry."""
    run_seen: int = NEVER
    """The time since A saw that the store had restarted."""
    restarted: int = 0
    """0 not yet, 1 unseen by A, 2 seen; 3 if it threw the entries away, unseen by A."""
    removals: int = 1
    """The number of times that an operator will still remove B's entry."""
    # A.
    step: str = "idle"
    """idle, stored, reading, waiting, answered, dead."""
    since: int = 0
    """The time since it began to confirm."""
    notice: str = ""
    """sent, answered, or none."""
    seen: int | None = None
    """The time since it first saw the renewal that B's entry carries."""
    # B.
    alive: bool = True
    cached: tuple[int, int] | None = None
    """The version and the age of the list that it keeps."""
    read: Read | None = None
    keep: int = DAEMON_TTL
    """For how long its entry is sure to stand."""
    claim: Claim | None = None
    join_due: bool = False
    # Both.
    answered: bool = False
    """The client was told that the registration holds."""
    crashes: int = 1


class Violation(Exception):
    """A list from before the registration is used after its answer."""


Step = tuple[str, State]


def stale(state: State, without: str) -> bool:
    """Return true if B would now use a list that the answer forbids."""
    if not (state.answered and state.alive and state.cached):
        return False
    version, age = state.cached
    return version == 0 and (age < TTL or without == "lease end")


def is_past(state: State) -> bool:
    """Return true if B has no list from before the change, and will never have one."""
    if not state.alive or (state.version == 0 and state.step == "dead"):
        return True
    if state.version == 0 or (state.cached is not None and state.cached[0] == 0):
        return False
    read = state.read
    return read is None or read.asked or read.version == 1


def alike(s: State, without: str) -> State:
    """The state that stands for all which differ in what decides nothing any more."""
    # What decides on an answer matters to nobody once it is given, or A cannot give it.
    no_answer = s.answered or s.step == "dead"
    run_seen = s.run_seen
    if no_answer or s.run_seen - s.since > TTL:
        run_seen = NEVER
    elif s.step in ("reading", "waiting"):
        # Both grow alike.
        run_seen = s.since
    crashes = 0 if s.answered else s.crashes
    restarted = 2 if s.restarted and no_answer else s.restarted
    claim = s.claim
    if claim is not None and claim.done is False:
        claim = _REFUSED
    read = s.read
    if read is not None and _is_vain(read, without):
        # It is of no use, whatever the reason.
        read = read._replace(age=TTL, known=False, disturbed=True)
    if (
        run_seen == s.run_seen
        and crashes == s.crashes
        and restarted == s.restarted
        and claim is s.claim
        and read is s.read
    ):
        return s
    return s._replace(
        run_seen=run_seen, crashes=crashes, restarted=restarted, claim=claim, read=read
    )


def _is_vain(read: Read, without: str) -> bool:
    """Return true if the list that is read will not be kept."""
    return (
        read.disturbed
        or (read.age >= TTL and without not in ("lease end", "asked after"))
        or not (read.asked or read.known or without == "reader known")
    )


def steps(s: State, without: str) -> Iterator[Step]:
    """Whatever can happen next."""
    yield "a tick", _tick(s, without)
    if s.crashes:
        if s.step != "dead":
            yield "A crashes", s._replace(step="dead", since=0, notice="", seen=None, crashes=0)
        if s.alive:
            yield (
                "B crashes",
                s._replace(
                    alive=False, cached=None, read=None, claim=None, join_due=False, crashes=0
                ),
            )
    if s.restarted == 0:
        lost = s._replace(entry=False, barred=None, seen=None)
        yield "the store restarts", lost._replace(restarted=1)
        yield "the store throws the entries away", lost._replace(restarted=3)
    if s.entry and s.removals and s.barred is None:
        yield "an operator bars B", s._replace(barred=0, seen=None, removals=0)
    if s.barred is not None and (s.barred >= TTL or without == "bar"):
        yield "the barred entry is removed", s._replace(entry=False, barred=None, seen=None)
    if s.step != "dead":
        yield from _steps_of_a(s, without)
    if s.alive:
        yield from _steps_of_b(s, without)


def _tick(s: State, without: str) -> State:
    cached = s.cached
    if cached is not None:
        age = min(cached[1] + 1, TTL)
        # Of no use any more, and so as good as gone.
        cached = None if age >= TTL and without != "lease end" else (cached[0], age)
    return s._replace(
        cached=cached,
        barred=None if s.barred is None else min(s.barred + 1, TTL),
        run_seen=min(s.run_seen + 1, NEVER),
        since=min(s.since + 1, TTL) if s.step in ("reading", "waiting") else 0,
        seen=None if s.seen is None else min(s.seen + 1, DAEMON_TTL),
        read=s.read and s.read._replace(age=min(s.read.age + 1, TTL)),
        keep=max(s.keep - 1, 0),
        claim=s.claim and s.claim._replace(age=min(s.claim.age + 1, DAEMON_TTL)),
    )


def _steps_of_a(s: State, without: str) -> Iterator[Step]:
    if s.entry and s.seen is None:
        yield "A looks at B's entry", s._replace(seen=0)
    if s.entry and s.seen == DAEMON_TTL:
        yield "A reaps B's entry", s._replace(entry=False, barred=None, seen=None)
    if s.restarted == 3:
        yield "A finds its entry gone, and joins", _a_misses_entry(s, without)
    if s.step == "idle":
        yield "A stores the change", _a_sees_store(s)._replace(step="stored", version=1)
    elif s.step == "stored":
        yield "A begins to confirm", s._replace(step="reading", since=0)
    elif s.step == "reading":
        notice = "sent" if s.entry else ""
        seeing = _a_misses_entry(s, without) if s.restarted == 3 else _a_sees_store(s)
        yield "A reads the daemons", seeing._replace(step="waiting", notice=notice)
    elif s.step == "waiting":
        all_told = s.notice != "sent"
        certain = s.run_seen - s.since > TTL or without == "restart"
        if (all_told and certain) or s.since >= TTL or without == "lease wait":
            yield (
                "A answers",
                s._replace(step="answered", since=0, notice="", answered=True, confirmed=True),
            )


def _a_sees_store(s: State) -> State:
    return s._replace(restarted=2, run_seen=0) if s.restarted == 1 else s


def _a_misses_entry(s: State, without: str) -> State:
    return s._replace(restarted=2, run_seen=s.run_seen if without == "own entry" else 0)


def _steps_of_b(s: State, without: str) -> Iterator[Step]:
    if s.notice == "sent":
        yield "B takes the notice", _drop(s, without)._replace(notice="answered")
    if s.version == 1 and not s.confirmed and not s.answered:
        # Asked again: A need not be waited for, since it keeps no list here.
        if without == "confirm first":
            yield "B answers at once", s._replace(answered=True)
        else:
            own = s if without == "drop own" else _drop(s, without)
            yield "B confirms and answers", own._replace(answered=True, confirmed=True)
    if s.read is None:
        if s.cached is None:
            yield "B asks for the list", s._replace(read=Read(0))
    elif s.read.asked:
        known = s.entry and s.barred is None
        read = s.read._replace(asked=False, version=s.version, known=known)
        yield "the store reads the list", s._replace(read=read)
    else:
        yield "B gets the list", _got_list(s, s.read, without)
    yield from _claims(s)


def _drop(s: State, without: str) -> State:
    read = s.read
    if read is not None and without != "disturbed reads":
        read = read._replace(disturbed=True)
    return s._replace(cached=None, read=read)


def _got_list(s: State, read: Read, without: str) -> State:
    kept = (
        (read.known or without == "reader known")
        and not read.disturbed
        and (TTL - read.age <= s.keep or without == "keep until")
    )
    if not kept and without == "asked after" and s.answered and read.version == 0:
        # A fan-out that was taken after the answer waits for this list.
        raise Violation("B gets the list, and uses it for what came after it was asked for")
    usable = kept and (read.age < TTL or without == "lease end")
    return s._replace(read=None, cached=(read.version, read.age) if usable else None)


def _claims(s: State) -> Iterator[Step]:
    claim = s.claim
    if claim is None:
        name = "B asks to join" if s.join_due else "B asks for a renewal"
        yield name, s._replace(claim=Claim(s.join_due), join_due=False)
    elif claim.done is None:
        if claim.join:
            joined = s._replace(entry=True, barred=None, seen=None)
            yield "the store lets B join", joined._replace(claim=claim._replace(done=True))
        else:
            renewed = s.entry and s.barred is None
            seen = None if renewed else s.seen
            answer = claim._replace(done=renewed)
            yield "the store renews B's entry or not", s._replace(seen=seen, claim=answer)
    elif claim.done:
        yield "B has its entry", s._replace(claim=None, keep=DAEMON_TTL - claim.age)
    else:
        read = s.read and s.read._replace(disturbed=True)
        yield (
            "B finds its entry gone",
            s._replace(claim=None, join_due=True, keep=0, cached=None, read=read),
        )


class Explored(NamedTuple):
    """The result of an exploration."""

    states: int
    answers: int
    """States in which the client has its answer."""
    trace: list[str] | None
    """The shortest way to use a stale list after an answer."""


def explore(without: str = "") -> Explored:
    """Visit every state that can be reached, until a stale list is used."""
    # Looking for cycles in millions of tuples, which have none, takes half of the time.
    gc.disable()
    # Nor does coverage find anything here: no line of the package runs.
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return _explore(without)
    finally:
        sys.settrace(tracer)
        gc.enable()


def _explore(without: str) -> Explored:
    start = State()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque((start,))
    answers = 0
    while todo:
        state = todo.popleft()
        answers += state.answered
        if stale(state, without):
            return Explored(len(came_from), answers, _trace(came_from, state))
        if is_past(state):
            continue
        try:
            for name, after in steps(state, without):
                after = alike(after, without)
                if after not in came_from:
                    came_from[after] = (state, name)
                    todo.append(after)
        except Violation as violation:
            trace = [*_trace(came_from, state), str(violation)]
            return Explored(len(came_from), answers, trace)
    return Explored(len(came_from), answers, None)


def _trace(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    names: list[str] = []
    before = came_from[state]
    while before is not None:
        names.append(before[1])
        before = came_from[before[0]]
    return names[::-1]
