"""Reads broken picture and mask files: each must be read, or refused by a UserError of one line. All else is a fault.

python scripts/lab/fuzz_pictures.py --files 2000          exits with 1 after a fault, and names its file
python scripts/lab/fuzz_pictures.py --seed 3 --only 1234  reads that file again
"""

import argparse
import faulthandler
import io
import logging
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dip.errors import UserError
from dip.image import masks
from dip.image.files.writing import WRITTEN, write
from dip.image.read import example, read_photo

FORMATS = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "TGA": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "JPEG2000": ("L", "RGB"),
}
HOLES = ("black", "white", "alpha", "opaque", 255, "#ff0000", [0, "red"])
SIZE = (24, 20)
HANGS = 60  # seconds


def whole_file(rng: np.random.Generator) -> bytes:
    """A tiny picture of some format and mode, with metadata."""
    format = str(rng.choice(list(FORMATS)))
    mode = str(rng.choice(FORMATS[format]))
    noise = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    grey = noise[..., 0].astype(np.uint16) * 257
    picture = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(noise).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = int(rng.integers(1, 9)), "Maker"
    file = io.BytesIO()
    options = WRITTEN.get(format, {}) if format != "TIFF" else {"compression": str(rng.choice(["raw", "tiff_lzw"]))}
    picture.save(file, format, exif=exif, dpi=(300, 300), **({} if mode == "YCbCr" else options))
    return file.getvalue()


def broken(content: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, near the start more often, and maybe cut off, repeat or insert some."""
    some = bytearray(content)
    for _ in range(int(rng.integers(0, 8))):
        place = int(len(some) * rng.random() ** 2)
        some[place] = int(rng.choice([0, 1, 127, 128, 255])) if rng.random() < 0.8 else int(rng.integers(0, 256))
    start, end = sorted(int(place) for place in rng.integers(0, len(some), 2))
    kind = rng.integers(0, 6)
    if kind == 0:
        return bytes(some[:end])
    if kind == 1:
        return bytes(some[:end] + some[start:])
    if kind == 2:
        return bytes(some[:start] + rng.bytes(int(rng.integers(1, 40))) + some[start:])
    return bytes(some)


def mask_file() -> bytes:
    pixels = np.full((SIZE[1], SIZE[0]), 255, dtype=np.uint8)
    pixels[5:12, 6:14] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def attempt(folder: Path, seed: int, index: int) -> str:
    """Read one broken file as a picture or as a mask, and write a result; return what happened."""
    rng = np.random.default_rng((seed, index))
    spoiled, whole = ("picture", "mask") if rng.random() < 0.5 else ("mask", "picture")
    (folder / spoiled).write_bytes(broken(whole_file(rng), rng))
    (folder / whole).write_bytes(mask_file())
    without_mask = spoiled == "picture" and rng.random() < 0.2
    hole: Any = HOLES[rng.choice(len(HOLES), p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])]
    turn_mask: Any = ("auto", True, False)[rng.integers(3)]
    soft_mask: Any = str(rng.choice(["threshold", "weight"]))
    try:
        photo = read_photo(
            image=str(folder / "picture"),
            mask=None if without_mask else str(folder / "mask"),
            truth=None,
            hole=hole,
            soft_mask=soft_mask,
            turn_mask=not without_mask and turn_mask,
            resize_mask=bool(rng.random() < 0.5),
            missing=None,
            channel_axis=None,
            grow_hole=int(rng.integers(0, 3)),
            crop="auto",
            max_side=256,
            max_megapixels=100,
            example=lambda: example("coffee", 48, 32, partial(masks.random_pixels, known_share=0.5, seed=0)),
        )
        output = torch.rand_like(photo.work.target)
    except UserError as error:
        if "\n" in str(error) or "data." not in str(error):
            raise RuntimeError("the refusal is not one line that names a key") from error
        broken_off = "cannot be read" in str(error) or "is not a picture" in str(error)
        return "refused as broken" if broken_off else "refused otherwise"
    write(photo.paste(photo.enlarge(output)), folder / "result.tif")
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="INDEX", help="this file alone")
    options = parser.parse_args()
    indices = range(options.files) if options.only is None else [options.only]
    sys.exit(min(fuzz(indices, options.seed), 1))


def fuzz(indices: Iterable[int], seed: int) -> int:
    """Try each of them; return the number of faults. A hang ends the process with a traceback."""
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for index in indices:
            faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__ or sys.stderr)
            started = time.monotonic()
            try:
                outcomes[attempt(Path(folder), seed, index)] += 1
            except Exception:
                outcomes["FAULT"] += 1
                print(f"--seed {seed} --only {index}:\n{traceback.format_exc()}", flush=True)
            slowest = max(slowest, time.monotonic() - started)
        faulthandler.cancel_dump_traceback_later()
    counts = ", ".join(f"{count} {how}" for how, count in sorted(outcomes.items()))
    print(f"{outcomes.total()} files: {counts}; the slowest took {slowest:.1f} s")
    return outcomes["FAULT"]


if __name__ == "__main__":
    logging.getLogger("dip").setLevel(logging.ERROR)
    main()
