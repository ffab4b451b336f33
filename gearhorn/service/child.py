# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Runs a program that ends when the process that started it does.

``python -m gearhorn.service.child PARENT PROGRAM [ARGUMENT]...``: the kernel is
asked to send SIGTERM when PARENT, the process id of the starter, has ended,
however it ended. The request outlives the exec of PROGRAM. (The same in a
preexec_fn would run Python between fork and exec.)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    # Elsewhere than on Linux it may be left running.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before that.
    if os.getppid() == parent:
        os.execv(program[0], program)


if __name__ == "__main__":
    main()
