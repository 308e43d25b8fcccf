"""Writes a report of all runs below a folder, with their options and results: report.html, report.csv and report.md.

    python scripts/report.py outputs/photo/2026-01-31_12-00-00-000000

The folder is that of a run, a sweep or a batch, or any that holds such folders. The files are written into it, over
those of an earlier report. The page needs no network and no other file.
"""

import argparse
import sys
from pathlib import Path

from dip.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a run, a sweep or a batch, or of several of them")
    folder = parser.parse_args().folder
    try:
        from dip.results.report.page import write_report

        print(write_report(folder.expanduser()))
    except ImportError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[report]'")
    except UserError as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
