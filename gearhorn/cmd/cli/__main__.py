# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``python -m gearhorn.cmd.cli``, if the console script is not installed."""

from gearhorn.cmd.cli import main

main(prog_name="gearhorn")
