# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Read memos, each up to three times: retry.py SERVERS TOPIC CLIENT_ID DEAD_TOPIC"""

import logging
import sys

from gearhorn import Message, Subscriber

logging.basicConfig(level=logging.INFO)
servers, topic, client_id, dead_topic = sys.argv[1:]
subscriber = Subscriber(servers, client_id)


@subscriber.on(topic, retries=2, backoff=0.5, dead_letter=dead_topic)
def read(memo: Message) -> None:
    if not memo.text.islower():
        raise ValueError("this memo shouts")
    print(memo.text, flush=True)


subscriber.run()
