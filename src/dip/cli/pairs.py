"""The pictures of a folder or pattern, and which mask and ground truth belongs to each, by name."""

import glob
import logging
import os
import re
import unicodedata
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from dip.errors import UserError
from dip.image.files.kinds import help_for, readable_endings

log = logging.getLogger(__name__)

Names = dict[str, str]  # of each file, by its path: the path below the folder that all of them lie in
Key = Callable[[str], str | None]  # of a name: files with the same key belong together


class Files(NamedTuple):
    """The files of one picture; `name` is the picture's path below the folder or the fixed part of the pattern."""

    name: str
    image: str
    mask: str | None
    truth: str | None
    missing: str | None = None  # what is said of a picture without a mask or ground truth


def plain(path: str) -> str:
    return os.path.expanduser(path)


def is_several(path: str | None) -> bool:
    """Whether a path is a folder or a pattern such as scans/*.tif, and not one file."""
    return path is not None and (os.path.isdir(plain(path)) or bool(split(path)[1]))


def split(path: str) -> tuple[str, str]:
    """The fixed part of a pattern and the rest, from the first part that has a wildcard and is no file's name."""
    parts, fixed = Path(plain(path)).parts, ""
    for number, part in enumerate(parts):
        below = os.path.join(fixed, part)
        if glob.has_magic(part) and not os.path.exists(below):
            return fixed, os.path.join(*parts[number:])
        fixed = below
    return fixed, ""


def listed(path: str, deep: bool = False) -> Names:
    """The files of a folder whose ending is that of a picture, or those that a pattern matches.

    deep: those in the folder's folders too.
    """
    return {file: name for file, name in files_at(path, deep).items() if is_read(name, path)}


def files_at(path: str, deep: bool = False) -> Names:
    """All files of a folder, or all that a pattern matches, but for hidden ones."""
    folder, pattern = split(path)
    found = glob.glob(pattern or ("**/*" if deep else "*"), root_dir=folder or None, recursive=True)
    paths = {os.path.join(folder, name): name for name in sorted(found)}
    return {file: name for file, name in paths.items() if os.path.isfile(file)}


def is_read(name: str, path: str) -> bool:
    """Whether the ending is that of a picture; a pattern may match files without one."""
    return ending(name) is not None or not (os.path.splitext(name)[1] or os.path.isdir(plain(path)))


def unread(names: Collection[str], path: str) -> str:
    """One line that counts the files, found at `path`, that are not read, and says what helps; "" for none."""
    counts = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in names if not is_read(name, path))
    each = [f"{count} {end}" + (f" ({help_for(end)})" if help_for(end) else "") for end, count in counts.most_common()]
    return f"left out of {path}, since they are not read: {', '.join(each)}" if each else ""


def ending(name: str) -> str | None:
    """The ending of a name, if it is that of a picture."""
    found = os.path.splitext(name)[1]
    return found if found.lower() in readable_endings() else None


def stem(name: str) -> str:
    return os.path.splitext(name)[0]


def as_seen(name: str) -> str:
    """A name as people compare it: any case, any composition of umlauts, without the endings of pictures."""
    seen = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    while found := ending(seen):
        seen = seen.removesuffix(found)
    return seen


def wildcards(path: str) -> Key:
    """What the wildcards of a pattern stand for in a name that it matches."""

    def group(part: re.Match[str]) -> str:
        sign = part.group()
        if sign == "**/":
            return "(?:(.*)/)?"
        return "([^/]*)" if sign[0] == "*" else "([^/])" if sign == "?" or len(sign) > 1 else re.escape(sign)

    expression = re.compile(re.sub(r"\*\*/|\*+|\[.[^]]*\]|.", group, split(path)[1] or "**/*"), re.DOTALL)

    def key(name: str) -> str | None:
        found = expression.fullmatch(name)
        return found and as_seen("/".join(group for group in found.groups() if group))

    return key


def find_pictures(image: str, mask: str | None, truth: str | None) -> list[Files]:
    """Every picture in a folder or pattern, in the order of their names, without those that are a mask or the truth.

    mask, truth: folders or patterns too, or one file for all. Raises UserError where there is no picture, where none
    has a partner, and where more than one fits.
    """
    files = files_at(image)
    found = {file: name for file, name in files.items() if is_read(name, image)}
    left_out = unread(files.values(), image)
    if found and left_out:
        log.warning("%s", left_out)
    masks, truths = Partners(found, image, mask, "mask"), Partners(found, image, truth, "truth")
    taken = {*masks.pairs.values(), *truths.pairs.values()}
    left = {path: name for path, name in found.items() if path not in taken}
    if not left:
        more = f"; {left_out}" if left_out else ""
        raise UserError(f"data.image={image} holds no picture; give a folder or a pattern with pictures in it{more}")
    for partners in (masks, truths):
        if partners.several and not partners.pairs:
            raise UserError(partners.missing(next(iter(left))))
    return [
        Files(name, path, masks.pairs.get(path), truths.pairs.get(path), masks.missing(path) or truths.missing(path))
        for path, name in left.items()
    ]


class Partners:
    """The mask, or the ground truth, of each picture: `pairs`, by its path. `word` is the key, and ends their names."""

    def __init__(self, images: Names, image: str, given: str | None, word: str):
        self.images, self.given, self.word = images, given, word
        self.several = is_several(given)
        self.pairs: dict[str, str] = {}
        self.free: list[str] = []  # what belongs to no picture
        spelled = {os.path.abspath(path): path for path in images}  # one folder may be given in two ways
        if given is not None and not self.several:
            self.pairs = dict.fromkeys(images, spelled.get(os.path.abspath(plain(given)), given))
        elif given is not None:
            found = listed(given, deep=is_deep(images))
            others = {spelled.get(os.path.abspath(path), path): name for path, name in found.items()}
            for image_key, other_key, shared in keys(image, given, word, is_deep(images) and is_deep(others)):
                self.pairs |= self.matched(grouped(others, other_key, self.pairs.values()), image_key, shared)
            self.free = sorted(others.keys() - self.pairs.values())

    def matched(self, others: Mapping[str, list[str]], key: Key, shared: bool) -> dict[str, str]:
        """The pairs with a common key. Raises UserError where it is not clear what belongs together."""
        pairs: dict[str, str] = {}
        owner: dict[str, str] = {}
        done = {*self.pairs, *self.pairs.values()}
        for path in (path for path in self.images if path not in done):
            fitting = [other for other in others.get(key(self.images[path]) or "", ()) if other != path]
            if len(fitting) > 1:
                raise UserError(f"{self}: {fitting[0]} and {fitting[1]} both fit {path}; {self.cure(path)}")
            for other in fitting:
                if other in owner and not shared:
                    raise UserError(f"{self}: {other} fits both {owner[other]} and {path}; {self.cure(path)}")
                if pairs.get(other) == path:
                    raise UserError(
                        f"{self}: either of {other} and {path} would be the other's {self.word}; name it "
                        f"NAME_{self.word}, or tell them apart by patterns such as '*.jpg' and '*.png'"
                    )
                pairs[path], owner[other] = other, path
        return pairs

    def missing(self, path: str) -> str | None:
        """What is said of a picture without a partner, with the file that it could have been."""
        if not self.several or path in self.pairs:
            return None
        place = bisect(self.free, path)
        others = [other for other in self.free[max(place - 8, 0) : place + 8] if other != path]
        near = get_close_matches(path, others, n=1, cutoff=0)
        said = f"the nearest is {near[0]}; " if near else ""
        return f"{self}: none fits {path}; {said}{self.cure(path)}"

    def cure(self, path: str) -> str:
        name = stem(self.images[path])
        return f"name it {name}_{self.word}.* or {name}.*"

    def __str__(self) -> str:
        return f"data.{self.word}={self.given}"


def keys(image: str, given: str, word: str, both_deep: bool) -> Iterator[tuple[Key, Key, bool]]:
    """What a picture and its partner have in common, the surest first; and whether pictures may share a partner."""

    def marked(name: str) -> str | None:
        return stem(name).removesuffix(f"_{word}") if stem(name).endswith(f"_{word}") else None

    def seen(name: str) -> str:
        return re.sub(rf"[ _.-]{word}[ _.-]?\d*$", "", as_seen(name))

    yield str, lambda name: marked(name) or stem(name), True  # scan.jpg and scan.jpg.png
    yield stem, marked, True
    yield stem, stem, True
    yield as_seen, seen, False
    yield wildcards(image), wildcards(given), False
    if not both_deep:
        yield lambda name: as_seen(os.path.basename(name)), lambda name: seen(os.path.basename(name)), False


def is_deep(names: Names) -> bool:
    return any(os.sep in name for name in names.values())


def grouped(names: Names, key: Key, taken: Collection[str]) -> dict[str, list[str]]:
    """The paths by the key of their names, without those that are taken."""
    found, taken = defaultdict(list), set(taken)
    for path, name in names.items():
        if path not in taken and (common := key(name)):
            found[common].append(path)
    return found
