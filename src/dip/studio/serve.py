"""Serves the studio on this machine."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from gradio.themes import Base
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dip.errors import UserError
from dip.studio.page import CSS, Page
from dip.studio.repairs import Repairs
from dip.studio.warm import Warm

LARGEST = "200mb"  # of an upload
# Whatever draws again and again does so twice a second while nobody touches the page: Gradio's loading screen
# leaves a loop behind that asks for all sixty frames, and slows down a repair on the same cores.
FEWER_FRAMES = b"""<script>{
    const frame = window.requestAnimationFrame.bind(window), cancel = window.cancelAnimationFrame.bind(window);
    let touched = 0, drawing = false;
    for (const event of ["pointerdown", "pointermove", "wheel", "keydown", "scroll", "resize"])
        addEventListener(event, () => { touched = performance.now() }, { capture: true, passive: true });
    const marked = draw => time => {
        drawing = true;
        try { draw(time) } finally { drawing = false }
    };
    window.requestAnimationFrame = draw => drawing && performance.now() - touched > 5000
        ? -setTimeout(() => marked(draw)(performance.now()), 500) : frame(marked(draw));
    window.cancelAnimationFrame = id => id < 0 ? clearTimeout(-id) : cancel(id);
}</script>"""


class FewerFrames:
    """Puts the script above before all others of the page; Gradio's own `head` comes after its loading screen."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put_first(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(raw=message["headers"])["content-length"]
            elif b"<head>" in message.get("body", b""):
                message["body"] = message["body"].replace(b"<head>", b"<head>" + FEWER_FRAMES, 1)
            await send(message)

        is_page = scope["type"] == "http" and scope["path"] == "/"
        await self.app(scope, receive, put_first if is_page else send)


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
                app_kwargs={"middleware": [Middleware(FewerFrames)]},
            )
            print(f"The studio is at {address} for this machine only; Ctrl-C ends it.", flush=True)
            page.block_thread()
        except OSError as error:
            raise UserError(f"--port {port} cannot be used: {error}") from error
        finally:
            repairs.close()
