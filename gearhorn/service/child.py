# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A program that ends when the process that started it does.

``python -m gearhorn.service.child PARENT PROGRAM [ARGUMENT]...`` asks the kernel for
SIGTERM when PARENT, the process id of the starter, has ended in any way. The request
outlives the exec of PROGRAM. (Rejected: a preexec_fn, which runs Python between fork
and exec.)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    # Only Linux has prctl(). On other systems the program may be left running.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have ended before that.
    if os.getppid() == parent:
        os.execv(program[0], program)


if __name__ == "__main__":
    main()
