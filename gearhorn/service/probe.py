# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``--probe``: a question to the daemon of this machine, for images that have no curl."""

from http.client import HTTPConnection, HTTPException

from gearhorn.service.listening import Listen

TIMEOUT_S = 5.0

PATHS = {"live": "/livez", "ready": "/readyz"}


def probe(listen: Listen, what: str) -> tuple[bool, str]:
    """Return whether the daemon is live or ready, and what it said."""
    connection = HTTPConnection("localhost", timeout=TIMEOUT_S)
    try:
        connection.sock = listen.connect(TIMEOUT_S)
        connection.request("GET", f"{PATHS[what]}?verbose")
        response = connection.getresponse()
        return response.status == 200, response.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return False, f"no answer on {listen}: {reason}\n"
    finally:
        connection.close()
