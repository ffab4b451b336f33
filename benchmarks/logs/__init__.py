# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Logs of messages beside which journals are measured, each through its usual Python client."""

from __future__ import annotations

from benchmarks.logs.base import Log
from benchmarks.logs.jetstream import JetStreamLog
from benchmarks.logs.journal import Journal
from benchmarks.logs.redis_streams import RedisStreamsLog

JOURNAL = Journal()
PEERS: tuple[Log, ...] = (RedisStreamsLog(), JetStreamLog())
