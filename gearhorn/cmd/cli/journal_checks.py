# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checks of ``gearhorn doctor`` on journals."""

from collections.abc import Iterator

from gearhorn.cmd.cli import findings
from gearhorn.cmd.cli.facts import Facts
from gearhorn.cmd.cli.findings import Finding

MOST = 0.8
"""The part of the store's memory that may be in use."""
_MIB = 1 << 20

_ADVICE = {
    "journals_differ": "Start it with the patterns of the store, or have its own written there: "
    "gearhorn-fanout --config FILE --adopt-journals. Until then it takes no messages.",
    "store_full": "Give the store of the journals memory or disk, or lower max_messages, max_bytes "
    "or max_age in [journal]: messages for these topics wait.",
}
_OTHER = "Check the store of the journals: messages for these topics wait until it answers."


def _size(count: int) -> str:
    return f"{count / _MIB:.1f} MiB"


def check_journals(facts: Facts) -> Iterator[Finding]:
    """Yield all findings about journals, by what the daemons know of them."""
    for worker_id, status in sorted(facts.statuses.items()):
        if status.journal_fault is not None:
            code = status.journal_fault
            yield Finding(
                findings.JOURNAL,
                code,
                f"daemon {worker_id} cannot append to journals: {code}",
                _ADVICE.get(code, _OTHER),
            )
    for status in facts.statuses.values():
        used, limit = status.store_memory, status.store_max_memory
        if status.journal_bytes and used is not None and limit and used > MOST * limit:
            yield Finding(
                findings.JOURNAL_MEMORY,
                f"{used} of {limit}",
                f"the Redis of the journals uses {_size(used)} of the {_size(limit)} of its "
                f"maxmemory; the payloads in journals are {_size(status.journal_bytes)} of it",
                "Raise maxmemory, or lower max_messages, max_bytes or max_age in [journal]: when "
                "it is full, messages for topics with a journal wait.",
            )
            # It is the store of all of them.
            return
