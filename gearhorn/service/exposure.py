# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Files with secrets that every user of the machine can read."""

import logging
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

from oslo_config import cfg

LOG = logging.getLogger(__name__)

# A password before the address, or as an option behind it.
_PASSWORD = re.compile(r"^[^/]*://[^/?#]*:[^/?#]+@|[?&](sentinel_)?password=[^&]")


def warn(conf: cfg.ConfigOpts) -> None:
    """Log a warning for each file with a secret that others can read."""
    for path, what in _secrets(conf):
        if _is_readable_by_all(path):
            LOG.warning(
                "every user of this machine can read %s, which holds %s: take that right away, as "
                "with chmod o-r",
                path,
                what,
            )


def _secrets(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield the files that hold a secret, each with what it is."""
    url: str = conf.store.url
    location = conf.get_location("url", "store")
    if _PASSWORD.search(url) and location is not None:
        yield location.detail, "the password of the store"
    for key in parse_qs(url.partition("?")[2]).get("ssl_keyfile", ()):
        yield key, "a TLS key"
    # Without a key of its own, the certificate's file has it.
    if key := conf.gearman.tls_key or conf.gearman.tls_cert:
        yield key, "a TLS key"


def _is_readable_by_all(path: str) -> bool:
    """Return true if everybody may read the file and reach it in its directories."""
    try:
        file = Path(path).resolve()
        return bool(file.stat().st_mode & stat.S_IROTH) and all(
            directory.stat().st_mode & stat.S_IXOTH for directory in file.parents
        )
    except OSError:
        # Not from a file, or one that this user itself cannot reach any more.
        return False
