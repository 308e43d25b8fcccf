"""Writes what the runs below a folder were told and what came of them: report.html, report.csv and report.md in it.

    python scripts/report.py outputs/photo/2026-01-31_12-00-00-000000

The folder is that of a run, of a sweep, of several pictures, or any that holds such folders. The page needs no network
and no other file. A report that is there already is written anew.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a run, of a sweep, or of several of them")
    folder = parser.parse_args().folder
    try:
        from dip.report import write_report

        print(write_report(folder.expanduser()))
    except ImportError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[report]'")
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
