"""Times the refinement of a thin hole alone, and measures its peak memory.

    python scripts/lab/benchmark_refine.py
    python scripts/lab/benchmark_refine.py --sizes 1024x1024 --repeats 1 refine.rounds=6

The picture is astronaut, with text over it or half its pixels missing. Further arguments are overrides of `refine`.
"""

import argparse
import platform
import statistics
import time

import torch
from benchmark import alone, peak_memory
from torch import Tensor

from dip.config.compose import compose
from dip.config.parts import instantiate_group
from dip.image import masks, tensors
from dip.prior.sample import Sample
from dip.results.patches.refinement import Refinement

CPU = torch.device("cpu")
WORDS = "The quick brown fox jumps over the lazy dog"


def hole(kind: str, height: int, width: int) -> Tensor:
    if kind == "text":
        return masks.text(height, width, WORDS, 16)
    return masks.random_pixels(height, width, known_share=0.5, seed=0)


def refine_once(
    kind: str, width: int, height: int, overrides: list[str], device: torch.device = CPU
) -> tuple[float, int]:
    """The seconds of one refinement, and the bytes by which it has grown this process's peak memory."""
    refine: Refinement = instantiate_group(compose(["hole_kind=thin", *overrides]), "refine")
    picture, mask = tensors.photograph("astronaut", width, height), hole(kind, height, width)
    picture, mask = picture.to(device), mask.to(device)
    before, started = peak_memory(), time.perf_counter()
    refine(picture, Sample(picture * mask, mask, None), None)[0].cpu()
    return time.perf_counter() - started, peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256x256,384x256,1024x1024", help="width x height (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="after one that does not count (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="such as refine.rounds=6")
    arguments = parser.parse_args()
    print(f"cpu, {platform.machine()}, {torch.get_num_threads()} threads; torch {torch.__version__}\n")
    print("| size | hole | seconds, median | least to most | memory, MB |\n|---|---|---|---|---|")
    for size in arguments.sizes.split(","):
        width, height = map(int, size.split("x"))
        for kind in ("text", "half"):
            case = kind, width, height, arguments.overrides
            memory = alone(refine_once, *case)[1] / 1e6
            seconds = [refine_once(*case)[0] for _ in range(arguments.repeats + 1)][1:]
            middle = statistics.median(seconds)
            print(f"| {size} | {kind} | {middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
