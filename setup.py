"""What pyproject.toml cannot say: a wheel has the configurations of configs/ within the package."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copytree("configs", Path(self.build_lib, "dip", "configs"), dirs_exist_ok=True)

    def get_source_files(self) -> list[str]:
        """What a source distribution needs."""
        return [*super().get_source_files(), *map(str, Path("configs").rglob("*.yaml"))]


setup(cmdclass={"build_py": BuildWithConfigs})
