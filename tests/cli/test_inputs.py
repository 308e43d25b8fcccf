"""Every refusal of docs/reference/inputs.md: its words, in one line, and exit code 2."""

import logging
import os
import re
import runpy
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dip.image.files import writing

REPOSITORY = Path(__file__).parents[2]
TABLE = (REPOSITORY / "docs" / "reference" / "inputs.md").read_text().partition("## Refusals")[2]
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$", TABLE, re.MULTILINE)


def bomb():
    """A PNG that says of itself that it has 400 megapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 1000) + b"IDAT" + bytes(1000)


@pytest.fixture
def bad_files(tmp_path, photograph, mask, monkeypatch):
    """The files that the table speaks of, in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    photograph.rename("photo.png")
    for name in ("empty", "locked", "masks", "phone"):
        os.mkdir(name)
    heic = b"\0\0\0\x18ftypheic"
    for name, content in {"heic.jpg": heic, "film.mp4": b"\0\0\0\x18ftypisom", "phone/a.heic": heic}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "phone" / "b.HEIC").write_bytes(heic)
    for name, content in {"empty.png": b"", "text.png": b"just some text", "bomb.png": bomb()}.items():
        (tmp_path / name).write_bytes(content)
    with Image.open("photo.png") as photo:
        photo.save("photo.jpg")
        photo.convert("LAB").save("lab.tif")
        exif = Image.Exif()
        exif[0x0112] = 6  # held upright, stored lying
        photo.save("upright.jpg", exif=exif)
        photo.save("raw.nef", "TIFF")
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
        photo.save("alpha.png")
        photo.putalpha(Image.new("L", photo.size, 255))
        photo.paste((0, 0, 0, 0), (0, 0, 40, 4))
        photo.save("shape.png")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:-200])
    Image.fromarray(np.full((32, 40), np.nan, dtype=np.float32)).save("nan.tif")
    cube = np.ones((32, 40, 5), dtype=np.float32)
    cube[..., 2] = 7
    np.save("full.npy", cube)
    np.save("complex.npy", cube.astype(np.complex64))
    for name, size in (("small", (20, 16)), ("white", (40, 32))):
        Image.new("L", size, 255).save(f"{name}.png")
    Image.fromarray(np.eye(6, dtype=np.uint8) * 255).save("tiny.png")
    Image.fromarray(np.eye(32, 40, dtype=np.uint8)).save("ones.png")
    for name in ("photo.png", "photo.tif"):
        Image.open("mask.png").save(f"masks/{name}")
    classes, red = Image.new("L", (40, 32)), Image.new("RGB", (40, 32))
    red.paste((255, 0, 0), (20, 8, 30, 16))
    red.save("red.png")
    classes.paste(2, (0, 8, 10, 16))
    classes.paste(3, (20, 8, 30, 16))
    classes.save("classes.png")


@pytest.fixture
def locked(monkeypatch):
    """No permission to write below locked/, for root too, whom the system would let."""

    def refusing(function):
        def refused(path=None, *arguments, **options):
            folder = str(path if path is not None else options.get("dir"))
            if folder.startswith("locked") or f"{os.sep}locked" in folder:
                raise PermissionError(13, "Permission denied", folder)
            return function(*(() if path is None else (path,)), *arguments, **options)

        return refused

    monkeypatch.setattr(os, "mkdir", refusing(os.mkdir))
    monkeypatch.setattr(writing, "TemporaryFile", refusing(writing.TemporaryFile))


@pytest.fixture
def train(monkeypatch, capsys):
    """train("key=value", ...): the command, in this process, since it would take seconds to start; (code, stderr)."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    root = logging.getLogger()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        before = root.handlers[:], root.level
        root.handlers[:] = []  # what pytest adds would keep a message from stderr
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.level = before
        return ended.value.code, capsys.readouterr().err

    return run


def test_the_table_is_read():
    assert len(ROWS) == TABLE.count("\n| ") - 1
    assert len(ROWS) > 30


@pytest.mark.usefixtures("bad_files", "locked")
@pytest.mark.parametrize(("arguments", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_refusal(train, tiny, tmp_path, arguments, said):
    before = {path for path in tmp_path.rglob("*") if "outputs" not in path.parts}
    code, stderr = train(*tiny, "data.image=photo.png", "data.mask=mask.png", *arguments.split())
    assert code == 2
    assert re.fullmatch(re.escape(f"error: {said}\n").replace("…", ".*"), stderr), stderr
    assert {path for path in tmp_path.rglob("*") if "outputs" not in path.parts} == before
    assert {path.name for path in tmp_path.glob("outputs/*/*/*")} <= {"train.log"}
