"""Opens the studio in the browser: paint over what should go, watch the picture form, compare, download.

    python scripts/studio.py
    python scripts/studio.py photo.jpg

The page is served on this machine only. Its photographs, masks and runs are kept below outputs/studio. Ctrl-C ends it;
a repair that is at work then saves its result first.
"""

import argparse
import os
import signal
from pathlib import Path

from dip.errors import UserError

HOME = Path("outputs", "studio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, help="a photograph to begin with")
    parser.add_argument("--port", type=int, help="of the page's address (from 7860 on, the first that is free)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    arguments = parser.parse_args()
    if arguments.photo is not None and not arguments.photo.is_file():
        parser.error(f"{arguments.photo} is no file")
    try:
        from dip.studio.serve import serve

        for asked in (signal.SIGINT, signal.SIGTERM):  # in the background, too, where a shell has SIGINT ignored
            signal.signal(asked, signal.default_int_handler)
        serve(HOME, arguments.photo, arguments.port, not arguments.no_browser)
    except ImportError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[studio]'")
    except UserError as error:
        parser.error(str(error))
    except KeyboardInterrupt:  # the second one; a process of its own saves the result of the repair that was at work
        os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
