# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The speed of gearhorn, beside bare sockets on the same machine in the same run.

``cases`` has one module for each kind of measurement, and ``contenders`` one for each
system beside which gearhorn is measured. A case gets a ``Plan`` and returns rows with
figures (``figures``); ``report`` prints them, ``plots`` draws them and ``stored`` reads
them again. README.rst describes the cases and lists the other modules.

Invariants:

* A figure is never given alone: gearhorn and its references take turns in one run, and
  nearly all targets are ratios, which a slower machine changes little.
* Each contender is used through its usual Python client, and one that acknowledges
  nothing is marked.
* A contender that is not installed is named and skipped.

Rejected: figures from elsewhere (other machines, other payloads); the mean of the
turns (one disturbed turn would move it, and the median stays).
"""
