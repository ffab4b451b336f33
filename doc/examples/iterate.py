# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Take a number of messages, one by one: iterate.py SERVERS TOPIC CLIENT_ID NUMBER"""

import sys

from gearhorn import Subscriber

servers, topic, client_id, number = sys.argv[1:]
subscriber = Subscriber(servers, client_id)
subscriber.on(topic)
left = int(number)
for message in subscriber:
    if message.payload:
        message.ack({"length": len(message.payload)})
    else:
        message.fail()
    left -= 1
    if not left:
        break
