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

Every key that a script uses is among its KEYS, as Redis Cluster asks for: the fixed ones, and
those of the topics that the caller knows of. In a cluster, a script that finds others, in a list
or as the holder of a queue, does nothing yet, and answers with their names: see ``needs`` in
``shared/store.lua``. It is called again with their keys. One Redis is spared that.

While a slot of a cluster is moved, a call is refused if one of its keys does not exist. So the
fixed keys always exist in a cluster, with an entry of an empty name (``settle``), and a topic's
hash of limits as long as its set. For the same reason a script deletes a key last.
"""

import functools
import hashlib
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


@functools.cache
def digest_of(text: str) -> str:
    """Return the name that Redis gives to a script."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
