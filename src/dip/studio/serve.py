"""Serves the studio on this machine."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from gradio.themes import Base

from dip.errors import UserError
from dip.studio.page import CSS, Page
from dip.studio.repairs import Repairs
from dip.studio.warm import Warm

LARGEST = "200mb"  # of an upload


def serve(home: Path, photo: Path | None, port: int | None, open_browser: bool) -> None:
    """Serve until Ctrl-C. Raises UserError where the port is taken.

    home: the folder of all repairs.
    """
    home.mkdir(parents=True, exist_ok=True)
    repairs = Repairs(home, Warm())
    # Of this studio alone: one that ends deletes what was uploaded to it.
    with TemporaryDirectory(prefix="studio-", dir=os.environ.get("GRADIO_TEMP_DIR")) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        try:
            page = Page(repairs, photo).blocks.queue(default_concurrency_limit=4)
            # In seconds; else it is asked a thousand times a second, which a repair pays.
            page._queue.sleep_when_free = 0.05
            _, address, _ = page.launch(
                server_name="127.0.0.1",
                server_port=port,
                inbrowser=open_browser,
                share=False,
                max_file_size=LARGEST,
                allowed_paths=[str(home.resolve())],
                theme=Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                css=CSS,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
            print(f"The studio is at {address} for this machine only; Ctrl-C ends it.", flush=True)
            page.block_thread()
        except OSError as error:
            raise UserError(f"--port {port} cannot be used: {error}") from error
        finally:
            repairs.close()
