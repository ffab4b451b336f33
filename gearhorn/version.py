# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The version of the package."""

import functools
import importlib.metadata


@functools.cache
def installed_version() -> str:
    """Return the version of the installed package, or say that it is not installed."""
    try:
        return importlib.metadata.version("gearhorn")
    except importlib.metadata.PackageNotFoundError:
        return "of a source tree that is not installed"
