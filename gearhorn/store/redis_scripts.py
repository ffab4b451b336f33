# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The Lua scripts that Redis runs, each as one atomic step: ``lua/*.lua``.

The head of each says which KEYS and ARGV it takes and what it returns. A line
``-- include NAME`` stands for ``lua/shared/NAME.lua``. All but ``open`` begin with
the check of the identity and return nil if it has gone.

Redis does not undo what a script did before an error, so that order matters:
what is read is read first, a changed topic gets its version next, and the
topic's own set is written last. A script that stops halfway then leaves a
version too many, never a change without one, and does the rest when it is
called again. (Redis refuses for want of memory, of disk or of replicas at the
first write only.)

Reads are scripts too. A transaction would do as well, but Redis refuses MULTI
while it is out of memory, when fan-outs can go on.

The sets of other topics than the one asked for have names that are known only
in the script, which is why these do not run on a Redis Cluster.
"""

import importlib.resources
import re

SUBSCRIPTION_KEYS = ("identity", "counter", "topics", "claims", "expiry", "unconfirmed")
"""What ``shared/subscriptions.lua`` takes."""

DAEMON_KEYS = ("identity", "counter", "topics", "daemons", "seen")
"""What ``shared/daemons.lua`` takes, before the set of the matchmaking topic."""

_FILES = importlib.resources.files("gearhorn.store").joinpath("lua")
_include = re.compile(r"^-- include (\w+)\n", re.MULTILINE)


def _read(path: str) -> str:
    """The text of a script, with what it includes."""
    text = _FILES.joinpath(path).read_text("utf-8")
    return _include.sub(lambda match: _read(f"shared/{match[1]}.lua"), text)


# At once: the user that the daemon becomes may not reach the files.
SCRIPTS = {
    file.name.removesuffix(".lua"): _read(file.name)
    for file in _FILES.iterdir()
    if file.name.endswith(".lua")
}
"""The text of each script, by its name."""
