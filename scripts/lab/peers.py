"""Fills the holes of evaluated pictures by other methods: a table beside ours, and sheets to judge blindly.

    pip install --editable ".[peers]"
    python scripts/lab/evaluate.py outputs/evaluate/quick --suites holes --final
    python scripts/lab/peers.py outputs/evaluate/quick

The folder is one of evaluate.py's. The others are FSR, frequency selective reconstruction (OpenCV), PatchMatch
(PyPatchMatch) and shift maps (OpenCV). None of them trains. In peers/: the pictures, table.md, and sheets/, each of
which has a masked picture and what the methods made of it, ours among them, in a random order that order.json tells.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dip.config.build import read_data
from dip.config.compose import compose
from dip.files import write_json
from dip.image import tensors
from dip.image.metrics import psnr, texture_distance

Pixels = NDArray[np.uint8]  # (H, W, 3)
Peer = Callable[[Pixels, NDArray[np.bool_]], Pixels]  # a picture and where its hole is -> the picture without

GAP = 8  # pixels between the pictures of a sheet


def patchmatch(pixels: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """Wexler's completion with PatchMatch as its search (Barnes et al. 2009), patches of 7x7."""
    import patchmatch as library  # pyright: ignore[reportMissingImports]

    library.set_random_seed(0)
    return library.inpaint(pixels, hole, patch_size=7)


def shift_map(pixels: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """Statistics of patch offsets (He and Sun 2012)."""
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setRNGSeed(0)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab)  # the colours that OpenCV asks for
    return cv2.cvtColor(reconstructed(lab, hole, cv2.xphoto.INPAINT_SHIFTMAP), cv2.COLOR_Lab2RGB)


def fsr(pixels: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """Frequency selective reconstruction (Genser et al. 2018), the better of OpenCV's two."""
    import cv2  # pyright: ignore[reportMissingImports]

    return reconstructed(pixels[..., ::-1].copy(), hole, cv2.xphoto.INPAINT_FSR_BEST)[..., ::-1]


def reconstructed(pixels: Pixels, hole: NDArray[np.bool_], method: int) -> Pixels:
    """By OpenCV's xphoto, whose mask is 255 where the picture is known."""
    import cv2  # pyright: ignore[reportMissingImports]

    found = np.zeros_like(pixels)
    cv2.xphoto.inpaint(pixels, np.where(hole, 0, 255).astype(np.uint8), found, method)
    return found


PEERS: dict[str, Peer] = {"FSR": fsr, "PatchMatch": patchmatch, "shift map": shift_map}


class Filled(NamedTuple):
    """What a method has made of a picture."""

    picture: Image.Image
    psnr: float  # of the hole, in dB
    texture: float | None  # the texture distance
    seconds: float | None

    @property
    def cells(self) -> str:
        """As a row of the table has them."""
        texture = "-" if self.texture is None else f"{self.texture:.2f}"
        seconds = "-" if self.seconds is None else f"{self.seconds:.0f}"
        return f"{self.psnr:.2f} | {texture} | {seconds}"


class Case(NamedTuple):
    name: str  # such as holes/chelsea_disks/seed_0
    masked: Image.Image
    by: dict[str, Filled]  # method -> what it has made


def cases(folder: Path, peers: dict[str, Peer]) -> Iterator[Case]:
    """Every case of the folder that has a hole, with what we and the peers have made of it."""
    for path in sorted(folder.rglob("evaluation.json")):
        found = json.loads(path.read_text())
        target, mask, truth = read_data(compose(found["overrides"])).full
        assert truth is not None
        if not (mask == 0).any():
            continue
        metrics, run = found["metrics"], path.parent / "run"
        by = {"ours": measured(run / "composite.png", metrics, metrics["seconds"])}
        by["biharmonic"] = measured(run / "biharmonic.png", metrics["baseline"], None)
        for name, peer in peers.items():
            by[name] = filled(peer, target, mask, truth)
        name = str(path.parent.relative_to(folder))
        yield Case(name, tensors.to_pil(target).convert("RGB"), by)


def measured(path: Path, metrics: dict[str, Any], seconds: float | None) -> Filled:
    picture = Image.open(path).convert("RGB")
    return Filled(picture, metrics["psnr_hole"], metrics.get("texture_distance"), seconds)


def filled(peer: Peer, target: torch.Tensor, mask: torch.Tensor, truth: torch.Tensor) -> Filled:
    """A hole filled by a peer; target, truth: (1, C, H, W) in [0, 1]; mask: (1, 1, H, W), 1 = known."""
    pixels, hole = np.asarray(tensors.to_pil(target).convert("RGB")), (mask == 0)[0, 0].numpy()
    begun = time.perf_counter()
    picture = Image.fromarray(peer(pixels.copy(), hole).astype(np.uint8))
    seconds = time.perf_counter() - begun
    output = tensors.from_pil(picture.convert("L") if target.shape[1] == 1 else picture)
    pasted = torch.where(mask == 0, output, target)
    return Filled(picture, psnr(pasted, truth, mask == 0), texture_distance(pasted, mask), seconds)


def sheet(case: Case, order: list[str]) -> Image.Image:
    """The masked picture, and those of the methods in this order, side by side."""
    pictures = [case.masked, *(case.by[name].picture for name in order)]
    width, height = case.masked.size
    canvas = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for number, picture in enumerate(pictures):
        canvas.paste(picture, (number * (width + GAP), 0))
    return canvas


def markdown(cases: list[Case], command: str) -> str:
    names = list(cases[0].by)
    lines = [f"`{command}`", "", "PSNR in the hole in dB, texture distance, seconds.", ""]
    lines += ["| | " + " | ".join(f"{name} | texture | seconds" for name in names) + " |"]
    lines += ["|" + (1 + 3 * len(names)) * "---|"]
    lines += [f"| {case.name} | " + " | ".join(case.by[name].cells for name in names) + " |" for case in cases]
    for name in names[1:]:
        better = sum(case.by["ours"].psnr > case.by[name].psnr for case in cases)
        lines += ["", f"Ours is better than {name} in {better} of {len(cases)}."]
    return "\n".join([*lines, ""])


def write(cases: list[Case], command: str, folder: Path) -> None:
    """The table, and each case's pictures and sheet; the order on a sheet is a new one each time."""
    orders: dict[str, Any] = {}
    (folder / "sheets").mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases, 1):
        order = random.sample(list(case.by), len(case.by))
        orders[f"{number:02}.png"] = {"case": case.name, "order": order}
        sheet(case, order).save(folder / "sheets" / f"{number:02}.png")
        within = folder / case.name
        within.mkdir(parents=True, exist_ok=True)
        for name, result in case.by.items():
            result.picture.save(within / f"{name.replace(' ', '_').lower()}.png")
    write_json(folder / "order.json", orders)
    (folder / "table.md").write_text(markdown(cases, command))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of runs by evaluate.py")
    arguments = parser.parse_args()
    try:
        found = list(cases(arguments.folder, PEERS))
    except ModuleNotFoundError as error:
        parser.error(f'{error.name} is not installed: pip install --editable ".[peers]"')
    if not found:
        parser.error(f"{arguments.folder} holds no run of evaluate.py with a hole")
    write(found, f"python scripts/lab/peers.py {arguments.folder}", arguments.folder / "peers")
    print((arguments.folder / "peers" / "table.md").read_text())


if __name__ == "__main__":
    main()
