# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The speed of gearhorn, beside bare sockets on the same machine in the same run."""
