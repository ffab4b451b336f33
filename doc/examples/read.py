# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Read what a topic's journal has: read.py SERVERS TOPIC"""

import sys

from gearhorn import Reader

servers, topic = sys.argv[1:]
with Reader(servers, topic) as reader:
    for entry in reader:
        print(entry.sequence, entry.text)
