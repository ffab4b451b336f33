# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Runs a program that ends when the process that started it does.

``python -m gearhorn.cmd.child PARENT PROGRAM [ARGUMENT]...``: the kernel is
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
