"""Imports what a command imports, and composes as one does, for all that are forked from here."""

from dip.cli.command import quick_imports
from dip.config.check import check_types

with quick_imports():
    import dip.cli.jobs  # noqa: F401

check_types([])
