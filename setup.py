# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The build: all but what wheels leave out is read from setup.cfg by pbr."""

import setuptools


class WithoutTests(setuptools.Distribution):
    """Leaves the tests out of wheels: they need the servers and tools of a source tree."""

    def finalize_options(self):
        # pbr takes every package below gearhorn, and every file below it for package data.
        super().finalize_options()
        self.packages = [
            name for name in self.packages or [] if not name.startswith("gearhorn.tests")
        ]
        self.exclude_package_data = {"gearhorn": ["tests/*"]}


setuptools.setup(pbr=True, distclass=WithoutTests)
