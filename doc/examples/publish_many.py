# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publish each line of the standard input: publish_many.py SERVERS TOPIC"""

import sys

from gearhorn import Publisher

servers, topic = sys.argv[1:]
with Publisher(servers) as publisher:
    lines = ((topic, line.rstrip("\n")) for line in sys.stdin)
    for report in publisher.publish_many(lines, background=True):
        print(f"queued for {report.queued}")
