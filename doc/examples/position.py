# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""See every memo in order and once: position.py SERVERS TOPIC CLIENT_ID DIRECTORY"""

import logging
import sys

from gearhorn import FilePosition, Message, Subscriber

logging.basicConfig(level=logging.INFO)
servers, topic, client_id, directory = sys.argv[1:]
subscriber = Subscriber(
    servers, client_id, position=FilePosition(directory), max_waiting=100, overflow="skip"
)


@subscriber.on(topic, start="first")
def read(memo: Message) -> None:
    print(memo.sequence, memo.text, flush=True)


subscriber.run()
