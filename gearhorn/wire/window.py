# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The number of jobs that a worker may hold."""


class Window:
    """A count of the jobs that are held or asked for, and of the room for more.

    An idle worker always has room for one job. Otherwise it would never ask again
    after one that is larger than the window.

    :param jobs: the most jobs that are held or asked for.
    :param size: about the most bytes of jobs that are held.
    """

    __slots__ = ("_bytes", "_expected", "_jobs", "_size", "asked", "held")

    def __init__(self, jobs: int, size: int) -> None:
        self._jobs = jobs
        self._size = size
        self._bytes = 0
        self._expected = 1
        """The bytes expected of a job that is asked for: those of the largest of
        late, fading."""
        self.held = 0
        """Jobs that have come and are not answered."""
        self.asked = 0
        """Grabs that a server has not answered."""

    @property
    def idle(self) -> bool:
        """True while no job is held and none can come."""
        return not self.held and not self.asked

    @property
    def full(self) -> bool:
        """True while jobs of all the bytes are held, whatever was asked for meanwhile."""
        return self._bytes >= self._size

    @property
    def crowded(self) -> bool:
        """True while the jobs that are held leave no room, whatever was asked for."""
        return self.held >= self._jobs or self._bytes >= self._size

    @property
    def held_bytes(self) -> int:
        """The bytes of the jobs that are held."""
        return self._bytes

    def room(self) -> int:
        """Return the number of jobs that may be asked for now."""
        jobs = self._jobs - self.held - self.asked
        by_size = (self._size - self._bytes) // self._expected - self.asked
        return min(jobs, max(by_size, int(self.idle)))

    def ask(self, jobs: int) -> None:
        """Count so many more grabs that are on their way."""
        self.asked += jobs

    def come(self, size: int) -> None:
        """Count a grab as answered with a job of ``size`` bytes, which is held."""
        self.asked -= 1
        self.held += 1
        self._bytes += size
        faded = self._expected * 7 // 8
        self._expected = size if size > faded else faded or 1

    def miss(self, grabs: int = 1) -> None:
        """Count so many grabs as answered with no job, or as lost."""
        self.asked -= grabs

    def shrink(self, size: int) -> None:
        """Count a job that is still held as so many bytes smaller."""
        self._bytes -= size

    def release(self, size: int, jobs: int = 1) -> None:
        """Count a job, or so many, of ``size`` bytes together as no longer held."""
        self.held -= jobs
        self._bytes -= size

    def take_up(self, size: int) -> None:
        """Count a job of ``size`` bytes as held, which no grab was sent for."""
        self.held += 1
        self._bytes += size

    def resize(self, jobs: int) -> bool:
        """Allow so many jobs from now on; return true if that is more than before."""
        grows = jobs > self._jobs
        self._jobs = jobs
        return grows
