# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The Lua scripts that Redis runs, each as one atomic step: ``lua/*.lua``.

The head of each says which KEYS and ARGV it takes and what it returns. A line
``-- include NAME`` stands for ``lua/shared/NAME.lua``. All but ``open`` first check
the identity, and return nil if it is gone or is another. All but ``open`` and ``mend``
then end with an error of their own: WENTBACK if the store is older than what it told
the caller, and INCOMPLETE if a key is gone that others name. Redis evicts whole keys;
an ADD would make an evicted set anew, with one member.

Redis does not undo what a script did before an error, so the order matters. A
script reads first, then gives a changed topic its version, and writes the topic's
own set last. If it stops halfway it leaves a version too many, never a change
without one, and does the rest when it is called again. (Redis refuses for lack of
memory, disk or replicas at the first write only.)

Reads are scripts too. A transaction would do as well, but Redis refuses MULTI
while it is out of memory, when fan-outs can go on.

These scripts do not run on a Redis Cluster: they use sets of other topics, whose
names are known only in the script.
"""

import importlib.resources
import re

KEYS = (
    "identity",
    "counter",
    "run",
    "topics",
    "claims",
    "expiry",
    "unconfirmed",
    "daemons",
    "seen",
    "settings",
    "told",
    "secrets",
    "knows",
    "ended",
    "ended_at",
    "ended_queues",
    "discards",
    "idle",
    "idle_after",
    "looked",
    "patterns",
)
"""The KEYS of ``shared/store.lua``: all keys but the sets of topics."""

_FILES = importlib.resources.files("gearhorn.store").joinpath("lua")
_include = re.compile(r"^-- include (\w+)\n", re.MULTILINE)


def _read(path: str) -> str:
    """Return the text of a script, with the files it includes."""
    text = _FILES.joinpath(path).read_text("utf-8")
    return _include.sub(lambda match: _read(f"shared/{match[1]}.lua"), text)


# Read at import: the user that the daemon becomes may not reach the files.
SCRIPTS = {
    file.name.removesuffix(".lua"): _read(file.name)
    for file in _FILES.iterdir()
    if file.name.endswith(".lua")
}
"""The text of each script, by name."""
