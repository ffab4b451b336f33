# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The errors of redis-py and Redis, translated into gearhorn's."""

import asyncio
import re
import ssl
from collections.abc import Iterator

from redis import exceptions

from gearhorn import errors
from gearhorn.net.connecting import in_a_sentence
from gearhorn.store.numbers import WentBack

# Redis up to 6 wraps the error of a command in "ERR Error running script", so the
# codes are looked for in the text as well.
# While a slot is moved, or nobody serves it, a script may be told so in plain words.
_AWAY = re.compile(
    r"\b(LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY)\b"
    r"|\bnon local key\b|\bcluster is down\b"
).search
# What redis-py makes of an OSError.
_CONNECTING = re.compile(r"Error -?\d+ connecting to (\S+)\. (.+?)\.?$", re.DOTALL).sub
# The codes of gearhorn's own scripts.
_INCOMPLETE = re.compile(r"\bINCOMPLETE (.*)", re.DOTALL).search
_WENT_BACK = re.compile(r"\bWENTBACK\b").search
_FULL = re.compile(r"\b(READONLY|OOM|MISCONF|NOREPLICAS)\b").search
# The names that TLS has for a certificate that is missing or refused, on either
# side. The errors of Sentinels come as text only, with the names of classes in it.
_REFUSED = re.compile(
    r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)"
    r"|CERTIFICATE_VERIFY_FAILED|\bAuth\w+Error\b"
).search

_AWAY_CLASSES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    OSError,
    TimeoutError,
    # Before Python 3.11 this is not the built-in one.
    asyncio.TimeoutError,
    # Transports in Python 3.12 and 3.13, and those of loops other than asyncio's
    # own, raise these when written to after the connection was reset.
    AttributeError,
    RuntimeError,
)
_REFUSED_CLASSES = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    ssl.SSLCertVerificationError,
)
_FULL_CLASSES = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError)

TRANSLATED = (exceptions.RedisError, UnicodeError, *_AWAY_CLASSES)
"""The exceptions that redis-py can raise because of the server or the network."""


def translate(error: Exception) -> errors.StoreError:
    """Return the error to raise in place of one that redis-py raised."""
    for origin in _origins(error):
        # redis-py turns these into a ConnectionError, in some releases without their
        # text.
        if isinstance(origin, _REFUSED_CLASSES) or (
            isinstance(origin, ssl.SSLError) and _REFUSED(str(origin))
        ):
            return errors.StoreMisconfigured(f"Redis: {origin}")
    # It does the same with every error of the handshake on a Unix socket.
    if error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = str(error) or type(error).__name__
    if own := _INCOMPLETE(text):
        return errors.StoreIncomplete(f"Redis: {own[1]}")
    if _WENT_BACK(text):
        return WentBack("Redis: the store went back to an older state")
    plain = _CONNECTING(lambda found: f"{found[1]}: {in_a_sentence(found[2])}", text)
    return _kind(error, text)(f"Redis: {plain}{_advice(text)}")


def _advice(text: str) -> str:
    # As far as redis-py leaves the code in the text.
    if re.match(r"MOVED|CROSSSLOT|Keys in request don't hash|\d+ \S*:\d+$", text):
        return "; this is a node of a Redis Cluster: write redis+cluster:// in [store] url"
    if "cluster support disabled" in text:
        return "; this is no node of a cluster: write redis:// in [store] url"
    if re.search(r"\bWRONGTYPE\b", text):
        return (
            "; if another program's keys stand there, set another key_prefix; if another release "
            "of gearhorn has converted the store, use that release"
        )
    if text.startswith("Protocol error"):
        return "; what answers there is no Redis"
    return ""


def _origins(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kind(error: Exception, text: str) -> type[errors.StoreError]:
    if _REFUSED(text):
        return errors.StoreMisconfigured
    if isinstance(error, _FULL_CLASSES) or _FULL(text):
        return errors.StoreFull
    if isinstance(error, _AWAY_CLASSES) or _AWAY(text):
        return errors.StoreAway
    return errors.StoreMisconfigured
