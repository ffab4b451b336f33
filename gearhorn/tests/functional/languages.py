# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The other languages that the documentation has examples in, and what they need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from gearhorn.tests.processes import MissingProgramError

EXAMPLES = Path(__file__).parents[3] / "doc/examples"


class Language(NamedTuple):
    """A language, and the commands that run its examples.

    ``probe`` is a command that fails in the folder of the examples if ``needs`` is not installed.
    """

    folder: str
    command: str
    suffix: str
    probe: Sequence[str]
    needs: str
    packaged: bool = True
    """True if Debian has all that it needs, so that it can never be missing in CI."""

    @property
    def directory(self) -> Path:
        return EXAMPLES / self.folder

    def example(self, name: str) -> Sequence[str]:
        """The command line of ``publish`` or ``subscribe``."""
        return [self.command, str(self.directory / f"{name}.{self.suffix}")]

    def require(self) -> None:
        """Skip the test if something is missing, but not in CI what Debian has."""
        try:
            subprocess.run(
                self.probe, cwd=self.directory, check=True, capture_output=True, timeout=20
            )
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"{self.folder} cannot run: install {self.needs}"
            if self.packaged and "CI" in os.environ:
                raise MissingProgramError(message) from error
            pytest.skip(message)


LANGUAGES = {
    "PHP": Language(
        "php",
        "php",
        "php",
        ["php", "-r", "new GearmanClient();"],
        "the Debian packages php-cli and php-gearman",
    ),
    "Perl": Language(
        "perl",
        "perl",
        "pl",
        ["perl", "-MGearman::Client", "-e", "1"],
        "the Debian package libgearman-client-perl",
    ),
    "Node": Language(
        "node",
        "node",
        "js",
        ["node", "-e", "require('node-gearman')"],
        "the Debian package nodejs, and what npm ci installs in doc/examples/node",
        packaged=False,
    ),
    "A shell": Language(
        "shell",
        "sh",
        "sh",
        ["sh", "-c", "command -v gearman && command -v jq"],
        "the Debian packages gearman-tools and jq",
    ),
}
