# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TLS contexts from files, which are read again once they have changed."""

import logging
import os
import ssl
from typing import Any

from gearhorn import errors

LOG = logging.getLogger(__name__)


class TLSFiles:
    """The files of this side of a TLS connection.

    :param ca: the file of the authority that signed the servers' certificates;
        ``None`` for those that the machine trusts.
    :param cert: the file of this side's certificate, if servers ask for one.
    :param key: the file of its key, if it is not in ``cert``.
    :param verify: refuse a server whose certificate no authority signed.
    :param check_name: refuse a server whose certificate is for another name.
    :raises ConfigurationError: a file cannot be used.
    """

    def __init__(
        self,
        ca: str | None,
        cert: str | None = None,
        key: str | None = None,
        *,
        verify: bool = True,
        check_name: bool = True,
    ) -> None:
        self._ca = ca
        self._cert = cert
        self._key = key
        self._verify = verify
        self._check_name = check_name
        self._read_at = self._look()
        self._context = self._make()
        self._complaint = ""

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection: another one if a file has changed.

        While the new files cannot be used, as between the renewal of a
        certificate and of its key, it is the former one.
        """
        seen = self._look()
        if seen == self._read_at:
            return self._context
        complaint = ""
        try:
            self._context = self._make()
        except errors.ConfigurationError as error:
            complaint = str(error)
        if complaint:
            if complaint != self._complaint:
                self._complaint = complaint
                LOG.warning("TLS files have changed and cannot be used yet: %s", complaint)
            return self._context
        self._read_at = seen
        self._complaint = ""
        LOG.info("TLS files have changed and were read again: %s", ", ".join(self._paths()))
        return self._context

    def _paths(self) -> list[str]:
        return [path for path in (self._ca, self._cert, self._key) if path]

    def _look(self) -> list[object]:
        """Return a value that changes when a file is rewritten or replaced."""
        found: list[object] = []
        for path in self._paths():
            try:
                status = os.stat(path)
            except OSError as error:
                found.append(error.errno)
            else:
                found.append(
                    (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                )
        return found

    def _make(self) -> ssl.SSLContext:
        try:
            # gear's own context checks no name and forbids TLS 1.3.
            context = ssl.create_default_context(cafile=self._ca)
            context.check_hostname = self._verify and self._check_name
            context.verify_mode = ssl.CERT_REQUIRED if self._verify else ssl.CERT_NONE
            if self._cert:
                context.load_cert_chain(self._cert, self._key or None)
        except OSError as error:
            raise errors.ConfigurationError(
                f"TLS cannot be set up with {' and '.join(self._paths())}: {error}"
            ) from None
        return context


def tls_context(
    ca: str | None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext | None:
    """Return the TLS settings for all job servers, or ``None`` for plain TCP.

    Certificates are verified, and the names in them. Files that are renewed are
    read again at the next connection that gearhorn makes.

    :param ca: the file of the authority that signed the servers' certificates.
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
    files = TLSFiles(ca, cert, key)
    context: Any = files.context()
    # A plain context for the user, who may set more in it until a file changes.
    context.gearhorn_files = files
    return files.context()


def for_connection(context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return the context for a new connection, made from the files as they are now."""
    files: TLSFiles | None = getattr(context, "gearhorn_files", None)
    return context if files is None else files.context()
