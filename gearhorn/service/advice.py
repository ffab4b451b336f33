# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What to do about what is found, in the words that the page and ``gearhorn doctor`` share.

Both point to the same entries of the runbook.
"""

RUNBOOK = "howto/runbook.html"
"""The page of the documentation that has an anchor for each finding and each error code."""

AWAY = "Start that job server, or correct [gearman] servers; all daemons need the same list."
SETTINGS = (
    "Give all daemons of a store the same, and restart them: until then registrations wait for "
    "leases, and requests go unserved."
)
LIMITS = "Give all daemons of a store the same, and reload them: until then each goes by its own."
EVICTS = "It would throw away subscribers: set maxmemory-policy noeviction."
FULL = "Start more receivers, or unregister and purge the queue of one that is gone."
FULL_UNTIL = "below seven eighths of its limit, [limits] max_waiting or its registration's"
DISCARDED = "after the end, by [limits] discard_after."


def finding(name: str) -> str:
    """Return the anchor of a finding of ``gearhorn doctor``."""
    return f"finding-{name}"


def code(code: str) -> str:
    """Return the anchor of an error code, as HTML has its label."""
    return f"code-{code}".replace("_", "-")


def link(anchor: str, docs: str = "") -> str:
    """Return where the documentation says more.

    :param docs: where it is, or nothing for an address within it.
    """
    root = docs if docs.endswith("/") or not docs else f"{docs}/"
    return f"{root}{RUNBOOK}#{anchor}"
