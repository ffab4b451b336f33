# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Have a program read memos: careful.py SERVERS TOPIC CLIENT_ID DEAD_TOPIC PROGRAM..."""

import subprocess
import sys

from gearhorn import Message, Subscriber

servers, topic, client_id, dead_topic, *program = sys.argv[1:]
subscriber = Subscriber(servers, client_id)


@subscriber.on(topic, retries=1, backoff=0.5, dead_letter=dead_topic)
def read(memo: Message) -> None:
    # It raises if the program dies, ends with another status than 0, or takes longer than a minute.
    subprocess.run(program, input=memo.payload, timeout=60, check=True)


subscriber.run()
