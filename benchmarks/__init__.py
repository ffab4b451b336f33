# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How fast gearhorn is, beside bare sockets on the same machine in the same run."""
