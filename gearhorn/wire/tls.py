# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TLS between gearhorn and job servers."""

import ssl

from gearhorn import errors


def tls_context(
    ca: str | None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext | None:
    """Return the TLS settings for all job servers, or ``None`` for plain TCP.

    The certificate of a server and the name in it are verified. (gear's own
    context does not check the name and forbids TLS 1.3.)

    :param ca: the file with the certificate of the authority that signed those of
        the servers; ``None`` or ``""`` for plain TCP.
    :param cert: the file with the certificate of this side, if servers ask for one.
    :param key: the file with its key, if that is not in ``cert``.
    :raises ConfigurationError: a file cannot be used, or ``cert`` or ``key`` is
        given without ``ca``.
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
