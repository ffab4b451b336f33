# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publish a memo: publish.py SERVERS TOPIC TEXT"""

import sys

from gearhorn import Publisher
from gearhorn.errors import PartialFailure

servers, topic, text = sys.argv[1:]
with Publisher(servers) as publisher:
    try:
        report = publisher.publish(topic, text, timeout=5, gather=True)
    except PartialFailure as failure:
        report = failure.report
        for client_id, reason in report.failed.items():
            print(f"{client_id} did not get it: {reason}")
    print(f"{report.delivered} of {report.subscribers} have read it")
