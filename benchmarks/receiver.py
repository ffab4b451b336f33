# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A contender's receivers as a process: python -m benchmarks.receiver, settings on stdin."""

from __future__ import annotations

import json
import pathlib
import resource
import sys

from benchmarks import contenders
from benchmarks.contenders.base import Receipts


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    settings = json.load(sys.stdin)
    contenders.by_name(settings["contender"]).receive(
        settings["address"], settings["client_ids"], Receipts(pathlib.Path(settings["receipts"]))
    )


if __name__ == "__main__":
    main()
