"""Makes the mask of a photograph: a picture of the same size, white where it is intact and black in the hole.

    python scripts/make_mask.py photo.jpg mask.png --stroke 8 10,10 60,20 75,50 --preview preview.png
    python scripts/make_mask.py photo.jpg mask.png --color "#ff8800" 60 --within --rectangle 250,200 380,250 --grow 2
    python scripts/make_mask.py photo.jpg mask.png --scratches bright 4 20 --except --ellipse 120,40 260,230

The hole starts empty, and each option changes it, from left to right. X,Y is a pixel of the upright photograph, as
picture viewers show it; 0,0 is its top left corner.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageColor

from dip.errors import UserError
from dip.image import shapes
from dip.image.shapes import Hole, Point

# PyTorch, behind dip.image.tensors and masks, is imported where it is needed, so that --help and a slip answer at once.


def random_pixels(photo: Image.Image, known_share: float, seed: int) -> Hole:
    from dip.image import masks

    return masks.random_pixels(photo.height, photo.width, known_share, seed)[0, 0].numpy() == 0


def mask_file(photo: Image.Image, path: str) -> Hole:
    from dip.image import masks, tensors
    from dip.image.files.opening import open_picture

    picture = open_picture(path, "--mask")
    opaque = tensors.alpha(picture)
    if opaque is not None and opaque.min() < 1:
        raise UserError(f"--mask {path} has transparent pixels; save it in black and white")
    shown = masks.as_picture(picture)
    if not isinstance(shown, Image.Image):
        raise UserError(f"--mask {path} is an array of several channels; give a picture")
    hole = masks.known_fraction(shown, "black", f"--mask={path}")[0, 0].numpy() < 0.5
    if hole.shape != (photo.height, photo.width):
        raise UserError(f"{path} is {hole.shape[1]}x{hole.shape[0]} but the photograph is {photo.width}x{photo.height}")
    return hole


SHAPES: dict[str, Callable[..., Hole]] = {
    "--rectangle": shapes.rectangle,
    "--ellipse": shapes.ellipse,
    "--polygon": shapes.polygon,
    "--stroke": shapes.stroke,
    "--text": shapes.words,
    "--color": shapes.near_colour,
    "--scratches": shapes.scratches,
    "--random": random_pixels,
    "--mask": mask_file,
}
COMBINED: dict[str, Callable[[Hole, Hole], Hole]] = {
    "": np.logical_or,
    "--except": lambda hole, shape: hole & ~shape,
    "--within": np.logical_and,
}
CHANGES: dict[str, Callable[..., Hole]] = {"--grow": shapes.grow, "--invert": np.logical_not}


def make_hole(photo: Image.Image, steps: list[tuple[str, list[Any]]]) -> Hole:
    """Apply the options, each with its values, one after another to an empty hole."""
    hole, how = np.zeros((photo.height, photo.width), dtype=bool), ""
    for option, values in steps:
        try:
            if option in COMBINED:
                how = option
            elif option in CHANGES:
                hole = CHANGES[option](hole, *values)
            else:
                hole, how = COMBINED[how](hole, draw(SHAPES[option], photo, values)), ""
        except UserError as error:
            raise UserError(f"{option}: {error}") from None
    if not hole.any():
        raise UserError("the hole is empty: nothing of the picture is in what the options say")
    if hole.all():
        raise UserError("the hole is the whole picture: nothing would be known")
    return hole


def draw(shape: Callable[..., Hole], photo: Image.Image, values: list[Any]) -> Hole:
    drawn = shape(photo, *values)
    if not drawn.any():
        raise UserError("nothing of the picture is in it")
    return drawn


def check_points(photo: Image.Image, steps: list[tuple[str, list[Any]]]) -> None:
    for option, values in steps:
        for point in values:
            if isinstance(point, Point) and not (0 <= point.x < photo.width and 0 <= point.y < photo.height):
                raise UserError(
                    f"{option}: {point.x},{point.y} is outside the picture, which is {photo.width}x{photo.height}, "
                    f"from 0,0 to {photo.width - 1},{photo.height - 1}"
                )


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise UserError where a file cannot be written, or would replace one against the user's will."""
    outputs = [path for path in (arguments.mask, arguments.preview) if path is not None]
    for path in outputs:
        if path.suffix.lower() != ".png":
            raise UserError(f"{path}: masks and previews are written as .png, which keeps every pixel")
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}")
        if path.exists() and not arguments.overwrite:
            raise UserError(f"{path} is there already; give another name or --overwrite")
        if path.exists() and path.samefile(arguments.photo):
            raise UserError(f"{path} is the photograph itself; give another name")
    if arguments.preview and arguments.preview.resolve() == arguments.mask.resolve():
        raise UserError(f"{arguments.preview} is both mask and preview; give two names")


def make_mask(arguments: argparse.Namespace) -> str:
    """Write the files; return one line about them."""
    from dip.image import tensors

    photo = tensors.to_pil(tensors.read_tensor(arguments.photo, "photo")).convert("RGB")
    check_points(photo, arguments.steps)
    check_outputs(arguments)
    hole = make_hole(photo, arguments.steps)
    tensors.save_png(Image.fromarray(hole if arguments.hole == "white" else ~hole).convert("L"), arguments.mask)
    if arguments.preview:
        tensors.save_png(shapes.tinted(photo, hole), arguments.preview)
    return f"{arguments.mask}: {photo.width}x{photo.height}, a hole of {hole.sum()} pixels ({100 * hole.mean():.1f} %)"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


class Step(argparse.Action):
    """Appends the option and its values to `steps`. types: how each is read, the last one also all that follow."""

    def __init__(self, *args: Any, types: tuple[Callable[[str], Any], ...] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.types = types

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        types = self.types + self.types[-1:] * len(values)
        try:
            read = [kind(value) for kind, value in zip(types, values, strict=False)]
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        namespace.steps = [*namespace.steps, (self.option_strings[0], read)]


def point(text: str) -> Point:
    if not re.fullmatch(r"-?\d+,-?\d+", text):
        raise UserError(f"{text} is no pixel X,Y, two whole numbers such as 10,20")
    return Point(*map(int, text.split(",")))


def whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise UserError(f"{text} is no whole number from {least} to {most}")
        return int(text)

    return read


def share(text: str) -> float:
    if not re.fullmatch(r"0?\.\d+", text) or float(text) == 0:
        raise UserError(f"{text} is no share between 0 and 1, such as 0.5")
    return float(text)


def colour(text: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(f'{text} is no colour, such as "#ff8800" or orange') from None


def kind_of_scratch(text: str) -> str:
    if text not in ("bright", "dark"):
        raise UserError(f"{text} is neither bright nor dark, as scratches are")
    return text


def command_line() -> Parser:
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s PHOTO MASK.png OPTION [OPTION ...]",
        allow_abbrev=False,
    )
    parser.set_defaults(steps=[])
    parser.add_argument("photo", metavar="PHOTO", help="any picture; it stays as it is")
    parser.add_argument("mask", metavar="MASK.png", type=Path, help="the file to write, of the photograph's size")
    pixels, corners = whole(1, 1000), ("LEFT,TOP", "RIGHT,BOTTOM")

    shapes = parser.add_argument_group("what is added to the hole")
    add = partial(shapes.add_argument, action=Step)
    add("--rectangle", nargs=2, types=(point,), metavar=corners, help="between two corners, both of them in it")
    add("--ellipse", nargs=2, types=(point,), metavar=corners, help="the one that fills this rectangle")
    add("--polygon", nargs="+", types=(point,), metavar="X,Y", help="three corners or more")
    add(
        "--stroke",
        nargs="+",
        types=(pixels, point),
        metavar=("WIDTH", "X,Y"),
        help="a round brush of WIDTH pixels from point to point",
    )
    add(
        "--text",
        nargs=3,
        types=(str, pixels, point),
        metavar=("WORDS", "SIZE", "X,Y"),
        help="words in Latin letters, SIZE pixels high, with their top left corner there",
    )
    add(
        "--color",
        nargs=2,
        types=(colour, whole(0, 255)),
        metavar=("COLOUR", "TOLERANCE"),
        help="all pixels whose red, green and blue are within TOLERANCE (0 to 255) of those of COLOUR",
    )
    add(
        "--scratches",
        nargs=3,
        types=(kind_of_scratch, whole(1, 100), whole(1, 255)),
        metavar=("bright|dark", "WIDTH", "CONTRAST"),
        help="long lines up to WIDTH pixels wide that stand out by CONTRAST (1 to 255; 20 is a start, more finds "
        "fewer); look at the preview, since lines that belong there are found as well",
    )
    add(
        "--random",
        nargs=2,
        types=(share, whole(0, 2**32 - 1)),
        metavar=("KNOWN_SHARE", "SEED"),
        help="pixels drawn at random, so that this share of them stays known",
    )
    add("--mask", nargs=1, types=(str,), metavar="FILE", help="the black of another mask")

    changes = parser.add_argument_group("what is done with it")
    add = partial(changes.add_argument, action=Step)
    add("--except", nargs=0, help="take the next of the above away from the hole instead of adding it")
    add("--within", nargs=0, help="keep only what of the hole is in the next of the above")
    add("--grow", nargs=1, types=(pixels,), metavar="N", help="grow the hole so far by N pixels")
    add("--invert", nargs=0, help="exchange the hole so far and the rest")

    outputs = parser.add_argument_group("files")
    outputs.add_argument("--preview", type=Path, metavar="FILE.png", help="write the photograph with its hole tinted")
    outputs.add_argument(
        "--hole", choices=("black", "white"), default="black", help="its colour in the mask (%(default)s)"
    )
    outputs.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    for word in words:
        if re.fullmatch(r"-\d+,-?\d+", word):  # which argparse takes for an option
            parser.error(f"{word} is outside the picture, whose top left corner is 0,0")
    arguments = parser.parse_args(words)
    options = [option for option, _ in arguments.steps]
    if not options:
        parser.error("nothing says what the hole is; give --rectangle, --stroke or another, see --help")
    for option, following in pairwise([*options, ""]):
        if option in COMBINED and following not in SHAPES:
            parser.error(f"{option} needs a shape after it, such as {option} --rectangle 10,20 60,80")
    return arguments


def main(words: Sequence[str]) -> None:
    parser = command_line()
    arguments = parse(parser, words)
    try:
        print(make_mask(arguments))
    except (UserError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
