"""Imports what a command imports, and composes as one does: for a process that waits, or is forked, to run commands."""

from dip.cli.command import quick_imports
from dip.config.check import check_types

with quick_imports():
    import dip.cli.jobs  # noqa: F401  what takes the time

check_types([])  # finds Hydra's plugins
