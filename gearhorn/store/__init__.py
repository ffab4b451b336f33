# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Where the subscriptions and the daemons' entries are kept."""

from gearhorn import errors
from gearhorn.store.base import Store

_REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SQLITE = ("sqlite",)


def open_store(url: str, *, key_prefix: str, matchmaking_topic: str, timeout: float) -> Store:
    """The store that a URL names; it still has to be opened.

    :param key_prefix: what every key in Redis begins with. An SQLite store
        has its file for itself and needs none.
    :param matchmaking_topic: the topic whose subscribers the daemons are.
    :param timeout: seconds that an answer may take.
    :raises StoreMisconfigured: the URL is wrong.
    """
    scheme = url.partition(":")[0].lower()
    # Each imports what only it needs.
    if scheme in _REDIS:
        from gearhorn.store.redis import RedisStore

        return RedisStore(
            url,
            key_prefix=key_prefix,
            matchmaking_topic=matchmaking_topic,
            timeout=timeout,
        )
    if scheme in _SQLITE:
        from gearhorn.store.sqlite import SQLiteStore

        return SQLiteStore(url, matchmaking_topic=matchmaking_topic, timeout=timeout)
    raise errors.StoreMisconfigured(
        "the URL of the store begins with an unknown scheme; known are "
        + ", ".join(f"{scheme}://" for scheme in (*_REDIS, *_SQLITE))
    )
