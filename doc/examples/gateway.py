# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An asyncio program that receives for clients that come and go: gateway.py SERVERS TOPIC

Each line of the standard input is a client's name; a name that is there already goes.
"""

import asyncio
import sys

from gearhorn import AsyncSubscriber, Message


async def main(servers: str, topic: str) -> None:
    subscriber = AsyncSubscriber(servers, ttl=60, concurrency=100, unregister=True)
    present: set[str] = set()

    async def forward(message: Message) -> None:
        await asyncio.sleep(0)  # where a gateway would write to its client
        print(f"for {message.client_id}: {message.text}", flush=True)

    async def watch() -> None:
        while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if name in present:
                present.remove(name)
                subscriber.off(topic, client_id=name)
            else:
                present.add(name)
                subscriber.on(topic, client_id=name)(forward)
        subscriber.stop()

    await asyncio.gather(subscriber.run(), watch())


asyncio.run(main(*sys.argv[1:]))
