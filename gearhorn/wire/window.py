# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How many jobs a worker may hold."""


class Window:
    """Counts the jobs that are held and asked for, and how many more there is room for.

    One job always fits: one that is larger than the window would else be the last.

    :param jobs: how many jobs are held or asked for at the most.
    :param size: how many bytes of jobs are held at about the most.
    """

    __slots__ = ("_bytes", "_expected", "_jobs", "_size", "asked", "held")

    def __init__(self, jobs: int, size: int) -> None:
        self._jobs = jobs
        self._size = size
        self._bytes = 0
        self._expected = 1
        """The bytes to reckon with in a job that is asked for: those of the
        largest of late, fading."""
        self.held = 0
        """Jobs that have come and are not answered."""
        self.asked = 0
        """Grabs that a server has not answered."""

    @property
    def idle(self) -> bool:
        """Whether no job is held and none can come."""
        return not self.held and not self.asked

    def room(self) -> int:
        """How many more jobs may be asked for."""
        jobs = self._jobs - self.held - self.asked
        by_size = (self._size - self._bytes) // self._expected - self.asked
        return min(jobs, max(by_size, int(self.idle)))

    def ask(self, jobs: int) -> None:
        """So many more grabs are on their way."""
        self.asked += jobs

    def come(self, size: int) -> None:
        """A grab was answered with a job of ``size`` bytes, which is held."""
        self.asked -= 1
        self.held += 1
        self._bytes += size
        faded = self._expected * 7 // 8
        self._expected = size if size > faded else faded or 1

    def miss(self, grabs: int = 1) -> None:
        """So many grabs were answered with no job, or never will be answered."""
        self.asked -= grabs

    def release(self, size: int) -> None:
        """A job of ``size`` bytes is held no longer."""
        self.held -= 1
        self._bytes -= size

    def resize(self, jobs: int) -> bool:
        """Allow so many jobs from now on; whether that is more than before."""
        grows = jobs > self._jobs
        self._jobs = jobs
        return grows
