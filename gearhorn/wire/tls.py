# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TLS between gearhorn and job servers."""

import ssl

from gearhorn import errors


def tls_context(
    ca: str | None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext | None:
    """The TLS settings for all job servers, or ``None`` for plain TCP.

    gear's own context checks no name and forbids TLS 1.3.

    :param ca: the file of the authority that signed the servers'
        certificates.
    :param cert: the file of this side's certificate, if servers ask for one.
    :param key: the file of its key, if it is not in ``cert``.
    :raises ConfigurationError: a file cannot be used.
    """
    if not ca:
        if cert or key:
            raise errors.ConfigurationError(
                "tls_cert and tls_key need tls_ca, the authority that servers are checked against"
            )
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key or None)
    except OSError as error:
        raise errors.ConfigurationError(
            f"TLS cannot be set up with {ca}{f' and {cert}' if cert else ''}: {error}"
        ) from None
    return context
