"""The build: everything is read from setup.cfg by pbr."""

import setuptools
from setuptools.command.build_py import build_py


class BuildWithoutTests(build_py):
    """Leave the tests out of wheels: they need servers and the sdist's tools."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        if package.startswith("gearhorn.tests"):
            return []
        return super().find_package_modules(package, package_dir)


setuptools.setup(
    setup_requires=["pbr"],
    pbr=True,
    cmdclass={"build_py": BuildWithoutTests},
)
