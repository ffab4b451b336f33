# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Read memos as they come: subscribe.py SERVERS TOPIC CLIENT_ID"""

import logging
import sys

from gearhorn import Message, Subscriber

logging.basicConfig(level=logging.INFO)
servers, topic, client_id = sys.argv[1:]
subscriber = Subscriber(servers, client_id, ttl=60, concurrency=4, unregister=True)


@subscriber.on(topic)
def read(memo: Message) -> str:
    print(memo.text, flush=True)
    return f"read by {memo.client_id}"


subscriber.run()
