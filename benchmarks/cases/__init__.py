"""The cases, in the order in which they are run."""

from benchmarks.cases import background, fairness, foreground, memory

CASES = (background.MANY, background.ONE, foreground.CASE, fairness.CASE, memory.CASE)
