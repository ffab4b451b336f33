# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The order in which a subscriber with a position sees the messages of a topic.

It is told of copies that come, of what daemons answer, and of the end of what it asked for.
:meth:`Order.next` says what to do then: show a message, answer a copy, read the journal,
wait, or tell that something is gone. It reads no clock and does no I/O.

A copy is believed to have its number if that is the next one, or if an answer that was asked
for after it came shows that the journal has come so far. What is missing before a copy is
waited for, then read. The queue goes before the journal, as it may hold more.

Whoever changes a rule changes the model first: each has a history that loses a message
without it. The unit test searches them.
"""

from collections import deque

from gearhorn.client.journal import places
from gearhorn.client.journal.actions import (
    GAP,
    TRIMMED,
    Action,
    Answer,
    Asked,
    Loose,
    Read,
    Show,
    Tell,
    Token,
    Wait,
)
from gearhorn.client.journal.missing import Hole, holes
from gearhorn.client.journal.places import KNOWN, Place
from gearhorn.client.numbers import Number
from gearhorn.messages import MAX_READ_LIMIT, Backlog, JournalMessage

_HOLE = "hole"
_BEHIND = "behind"


class Order:
    """The order of one topic's messages for one client_id.

    :param kept: what was written of an earlier one; ``None`` if there is none.
    :raises PositionUnreadable: it cannot be read.
    """

    def __init__(self, kept: bytes | None) -> None:
        found = [] if kept is None else places.decode(kept)
        self._places = {place.journal: place for place in found}
        """By journal, today's first."""
        self._has_journal = bool(found)
        self._loose: deque[Loose] = deque()
        self._answers: deque[Answer] = deque()
        self._held: dict[int, list[Token]] = {}
        """Copies of today's journal, which wait for their turn."""
        self._unknown: deque[tuple[Token, Number]] = deque()
        """Copies of a journal that may be today's."""
        self._read: dict[int, JournalMessage] = {}
        """What was read of today's journal and not shown yet."""
        self._gone: list[Hole] = []
        self._tells: deque[Tell] = deque()
        """What is told of one of these, before anything else is done."""
        self._last = 0
        """The last sequence of today's journal, as far as it is known."""
        self._is_unsure = True
        """True until an answer has told what there is."""
        self._in_hand: Show | Tell | None = None
        self._asked: Asked | None = None
        self._came = 0
        self._waits: tuple[str, int, int] | None = None
        self._is_due = False
        """True once it was waited long enough to read."""
        self._behind = 0
        """What was missing when it was last asked, and had no copy; 0 if nothing was."""
        self._is_late = False
        """True if that was missing twice."""

    # What it is told.

    @property
    def has_begun(self) -> bool:
        """True if there is a position."""
        return bool(self._places)

    @property
    def waiting(self) -> int:
        """The number of copies that are kept behind a missing one."""
        today = self._today
        if today is None or today.position + 1 in self._held:
            return len(self._unknown)
        return len(self._unknown) + sum(map(len, self._held.values()))

    @property
    def is_in_hand(self) -> bool:
        """True if something was begun whose end it was not told of."""
        return self._in_hand is not None

    @property
    def is_idle(self) -> bool:
        """True if there is no copy that is not answered."""
        return not (self._in_hand or self._loose or self._held or self._unknown or self._answers)

    def begin(self, journal: str | None, position: int) -> None:
        """Begin where nothing was written: after ``position``. It is to be written first."""
        self._places = {journal: Place(journal, position, position)}
        self._has_journal = True

    def data(self, number: Number | None = None) -> bytes:
        """Return what is to be written, or is once the message ``number`` is handled."""
        all_places: list[Place] = [*self._places.values()]
        if number is not None:
            all_places = [
                place.after(number.sequence) if place.journal == number.journal else place
                for place in all_places
            ]
        return places.encode(all_places)

    def moves(self, number: Number | None) -> bool:
        """Return true if the end of a message is to be written."""
        return number is not None and number.journal in self._places

    def came(self, copy: Token, number: Number | None) -> None:
        """Take a copy that came from the queue."""
        self._came += 1
        if number is None or not self._places:
            self._loose.append(Loose(copy, None))
        else:
            self._sort(copy, number)

    def told(self, journal: str | None, last: int) -> None:
        """Take what a daemon has told of today's journal."""
        if self._places:
            self._name(journal)
            self._last = max(self._last, last)

    def checked(self, journal: str | None, last: int) -> None:
        """Take the same, which was asked for as something may have been left out.

        What was missing already, the check before, is read even if the queue has more: what
        the journal has is shown, and of the rest nothing is told.
        """
        self.told(journal, last)
        behind = self._next_sequence if self._need() == _BEHIND else 0
        self._is_late = behind != 0 and behind == self._behind
        self._behind = behind

    def no_journal(self) -> None:
        """Take a daemon's word that the topic has no journal: copies are shown as they come."""
        self._asked = None
        self._is_due = self._is_unsure = False
        if self._has_journal:
            self._has_journal = False
            self._let_go(self._today)
            self._all_unknown_loose()

    def unread(self) -> None:
        """Take it that nothing could be read. It is waited for, and read again."""
        self._asked = None
        self._is_due = False

    def answered(self, backlog: Backlog) -> None:
        """Take what was read."""
        assert self._asked is not None
        read, names, had_come, tells = self._asked
        self._asked = None
        today = self._name(backlog.journal)
        self._last = backlog.last
        unknown, self._unknown = self._unknown, deque()
        for copy, number in unknown:
            if number.journal == read.journal != backlog.journal:
                self._loose.append(Loose(copy, number))
            else:
                self._sort(copy, number)
        if names or read.journal != backlog.journal:
            # Of another journal's messages nobody has waited for the copies yet.
            return
        self._is_unsure = False
        for sequence in had_come:
            # Nobody gave out this number, or it was lost since.
            if sequence > backlog.last and sequence != today.position + 1:
                self._loose += [Loose(copy, None) for copy in self._held.pop(sequence, ())]
        self._take(today, read.after, backlog)
        if not tells:
            self._gone.clear()

    def waited(self, *, calm: bool) -> None:
        """Take it that the time to wait is over.

        :param calm: nothing is in hand, and whatever was in the queue would have come.
        """
        waits, self._waits = self._waits, None
        need = self._need()
        if waits is None or need is None or waits[:2] != (need, self._next_sequence):
            return
        self._is_due = need == _HOLE or (calm and waits[2] == self._came)

    def handled(self, *, failed: bool = False) -> None:
        """Take it that the message shown last is handled, and that this is written."""
        assert isinstance(self._in_hand, Show)
        number = self._in_hand.number
        place = None if number is None else self._places.get(number.journal)
        if number is not None and place is not None:
            place.handled(number.sequence, failed=failed)
        self.passed()

    def passed(self) -> None:
        """Take it that what was in hand is over, and written."""
        self._in_hand = None
        self._release()

    def give_up(self) -> list[Token]:
        """Forget the copies that are neither in hand nor answered, and return them."""
        copies = [each.copy for each in self._loose] + [copy for copy, _ in self._unknown]
        copies += [copy for held in self._held.values() for copy in held]
        self._loose.clear()
        self._unknown.clear()
        self._held.clear()
        return copies

    # What is to be done.

    def next(self) -> Action | None:
        """Return what is to be done now, or ``None`` if nothing is before something comes."""
        if self._answers:
            return self._answers.popleft()
        if self._in_hand is not None:
            return None
        while self._loose:
            copy, number = self._loose.popleft()
            place = None if number is None else self._places.get(number.journal)
            if place is not None and number is not None and place.is_handled(number.sequence):
                return Answer(copy, place.has_failed(number.sequence))
            return self._hand(Show(copy, number))
        if self._has_journal and (found := self._next_of_today()) is not None:
            return found
        return self._question()

    def _next_of_today(self) -> Action | None:
        today = self._today
        if today is None or today.journal is None:
            return None
        sequence = today.position + 1
        number = Number(today.journal, sequence)
        if self._tells:
            return self._tell(today)
        if copies := self._held.get(sequence):
            # Each hole is waited for anew.
            self._is_due = False
            copy = copies.pop(0)
            if not copies:
                del self._held[sequence]
            self._read.pop(sequence, None)
            return self._hand(Show(copy, number))
        if (read := self._read.pop(sequence, None)) is not None:
            return self._hand(Show(None, number, read))
        for hole in self._gone:
            if hole.first <= sequence <= hole.last:
                # What has come after all is shown.
                last = min([hole.last, *(each - 1 for each in {*self._held, *today.ahead})])
                whys = [TRIMMED] * hole.trimmed + [GAP] * hole.gap
                self._tells += [Tell(today.journal, sequence, last, why) for why in whys]
                return self._tell(today)
        return None

    def _tell(self, today: Place) -> Action:
        tell = self._tells.popleft()
        if not self._tells:
            today.move(tell.last)
            self._gone = [each for each in self._gone if each.last > today.position]
        return self._hand(tell)

    def _question(self) -> Action | None:
        if self._asked is not None or not self._has_journal:
            return None
        if self._unknown:
            journal = self._unknown[0][1].journal
            place = self._places.get(journal)
            return self._ask(Read(place.position if place else 0, journal, 1), names=True)
        need = self._need()
        today = self._today
        if need is None or today is None:
            self._is_due = False
            return None
        is_late = self._is_late and need == _BEHIND and self._next_sequence == self._behind
        self._is_late = False
        if self._is_due or is_late:
            missing = min(self._held) - today.position - 1 if self._held else MAX_READ_LIMIT
            read = Read(today.position, today.journal, min(missing, MAX_READ_LIMIT))
            return self._ask(read, names=False, tells=self._is_due)
        if self._waits is not None:
            return None
        self._waits = (need, self._next_sequence, self._came)
        return Wait()

    def _need(self) -> str | None:
        """Return why the journal is to be read, if it is."""
        today = self._today
        if today is None or not self._has_journal:
            return None
        if self._held:
            return None if self._next_sequence in self._held else _HOLE
        return _BEHIND if self._is_unsure or self._last > today.position else None

    def _ask(self, read: Read, *, names: bool, tells: bool = True) -> Read:
        self._asked = Asked(read, names, frozenset(self._held), tells)
        return read

    def _hand(self, action: Show | Tell) -> Show | Tell:
        self._in_hand = action
        return action

    # Numbers and journals.

    @property
    def _today(self) -> Place | None:
        return next(iter(self._places.values()), None)

    @property
    def _next_sequence(self) -> int:
        today = self._today
        return 0 if today is None else today.position + 1

    def _sort(self, copy: Token, number: Number) -> None:
        place = self._places.get(number.journal)
        sequence = number.sequence
        if place is not None and sequence <= place.start:
            self._loose.append(Loose(copy, None))
        elif place is not None and place.is_handled(sequence):
            self._answers.append(Answer(copy, place.has_failed(sequence)))
        elif not self._has_journal:
            self._loose.append(Loose(copy, number))
        elif place is not None and place is self._today:
            self._held.setdefault(sequence, []).append(copy)
        elif place is not None and sequence == place.position + 1:
            self._loose.append(Loose(copy, number))
        else:
            self._unknown.append((copy, number))

    def _name(self, journal: str | None) -> Place:
        """Take it that this is today's journal."""
        former = self._today
        self._has_journal = True
        if former is not None and former.journal == journal:
            return former
        # A new one has nothing that was handled.
        place = self._places.pop(journal, None) or Place(journal)
        others = [each for each in self._places.values() if each.journal is not None]
        known = [place, *others][: KNOWN + (journal is None)]
        self._places = {each.journal: each for each in known}
        self._let_go(former)
        return place

    def _let_go(self, former: Place | None) -> None:
        """Show the copies of a journal that is not today's any more as they come."""
        self._read.clear()
        self._gone.clear()
        self._tells.clear()
        self._last = 0
        self._is_due = self._is_late = False
        self._behind = 0
        held, self._held = self._held, {}
        if former is not None and former.journal is not None:
            for sequence in sorted(held):
                number = Number(former.journal, sequence)
                self._loose += [Loose(copy, number) for copy in held[sequence]]

    def _all_unknown_loose(self) -> None:
        self._loose += [Loose(copy, number) for copy, number in self._unknown]
        self._unknown.clear()

    def _take(self, today: Place, after: int, backlog: Backlog) -> None:
        """Note what an answer has and what it lacks."""
        self._gone = holes(backlog, after)
        for message in backlog.messages:
            if not today.is_handled(message.sequence) and message.sequence > today.position:
                self._read[message.sequence] = message

    def _release(self) -> None:
        """Answer the copies of what is handled by now."""
        today = self._today
        if today is None:
            return
        for sequence in [each for each in self._held if today.is_handled(each)]:
            failed = today.has_failed(sequence)
            self._answers += [Answer(copy, failed) for copy in self._held.pop(sequence)]
        if self._read:
            self._read = {k: read for k, read in self._read.items() if k > today.position}
