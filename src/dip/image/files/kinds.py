"""Files that Pillow does not read by itself: what they are, and what helps."""

from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from PIL import Image

from dip.image.files.arrays import ARRAYS

RAW = "a raw photograph"
# By what a file is: endings, what it starts with (from the fifth byte on for ftyp), and what helps.
KINDS: dict[str, tuple[str, tuple[bytes, ...], str]] = {
    "HEIC": (".heic .heif .hif", (b"ftyphe", b"ftypmif1", b"ftypmsf1"), "pip install pillow-heif"),
    "JPEG XL": (".jxl", (b"\xff\x0a", b"\0\0\0\x0cJXL "), "pip install pillow-jxl-plugin"),
    RAW: (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2"
        " .srf .srw .x3f",
        (b"ftypcrx", b"FUJIFILMCCD-RAW", b"FOVb", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"),
        "develop it to a TIFF by a raw converter, such as darktable or RawTherapee",
    ),
    "a video": (
        ".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv",
        (b"ftypqt", b"ftypisom", b"ftypmp4", b"ftypM4V", b"\x1aE\xdf\xa3", b"\0\0\x01\xba"),
        "give one frame of it as a PNG, such as by ffmpeg",
    ),
    "a vector drawing": (".svg .svgz .ai .eps .wmf .emf", (b"<svg",), "export it as a PNG"),
    "a PDF": (".pdf", (b"%PDF",), "export its picture as a PNG"),
    "a picture of layers": (".psb .xcf .kra .ora .afphoto .clip", (b"8BPS", b"gimp xcf"), "export it as a PNG or TIFF"),
    "a picture of high dynamic range": (
        ".exr .hdr",
        (b"\x76\x2f\x31\x01", b"#?RADIANCE"),
        "convert it to a grey TIFF of 32-bit floats for each channel, or to a PNG",
    ),
    "a web page": (".html .htm", (b"<!doctype html", b"<html"), "download the picture itself"),
    "a pointer of Git LFS": ("", (b"version https://git-lfs",), "git lfs pull fetches the file"),
}
STUBS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # that Pillow knows the names of


@cache
def register_plugins() -> None:
    """Have Pillow read HEIC and JPEG XL where their packages are installed."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    with suppress(ImportError):
        import_module("pillow_jxl")


def what_helps(path: Path) -> str | None:
    """What a file is that Pillow does not read, and what helps; None for one of no kind that is known."""
    with path.open("rb") as file:
        start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    starts = (start.lower(), start, start[4:])
    for kind, (_, signs, _) in KINDS.items():
        if any(text.startswith(signs) for text in starts) or (kind == "a vector drawing" and b"<svg" in start):
            return described_as(kind)
    for kind, (endings, *_) in KINDS.items():
        if path.suffix.lower() in endings.split():
            return described_as(kind)
    return None


def described_as(kind: str) -> str:
    return f"is {kind}, which Pillow does not read; {KINDS[kind][2]}"


def help_for(ending: str) -> str:
    """What helps with files of this ending; "" where nothing is known."""
    return next((help for endings, _, help in KINDS.values() if ending in endings.split()), "")


def is_raw(path: Path, file: Image.Image) -> bool:
    """Whether an open file is of a camera's sensor, whose first picture in the eyes of Pillow is a thumbnail."""
    endings = KINDS[RAW][0].split()
    return file.format == "TIFF" and (path.suffix.lower() in endings or 50706 in getattr(file, "tag_v2", {}))  # DNG


@cache
def readable_endings() -> set[str]:
    """The endings of the files that are read: by Pillow, and as arrays."""
    register_plugins()
    Image.init()
    found = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in STUBS}
    return (found - set(KINDS["a video"][0].split())) | {*ARRAYS}
