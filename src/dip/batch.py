"""Many pictures at once: the files that a folder or a pattern stands for, each with its mask and truth by name."""

import glob
import json
import os
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dip.resume import as_measured, is_done
from dip.schema import to_be_measured


class Files(NamedTuple):
    """What belongs to one picture; `name` is the picture's path below the folder that all of them lie in."""

    name: str
    image: str
    mask: str | None
    truth: str | None


def is_several(path: str | None) -> bool:
    """Whether a path is a folder or a pattern such as scans/*.tif, and not one file."""
    return path is not None and (os.path.isdir(plain(path)) or is_pattern(path))


def is_pattern(path: str) -> bool:
    return not os.path.exists(plain(path)) and glob.has_magic(path)


def plain(path: str) -> str:
    return os.path.expanduser(path)


def files_named(cfg: DictConfig, key: str) -> str | None:
    """The files that `cfg.data` names by this key; None where it has none, or makes a mask itself."""
    found = cfg.data.get(key)
    return found if isinstance(found, str) else None


def pictures(image: str, mask: str | None, truth: str | None) -> list[Files]:
    """Every picture in a folder or pattern, in the order of their names, without those that are a mask or the truth.

    mask, truth: folders or patterns too, where the partner of a.jpg is a.* or, for a mask, a_mask.*; one file is
    everybody's. A partner that is missing is named all the same, so that its picture is refused. Raises ValueError
    where there is no picture, and for two files that would be each other's partner.
    """
    found = listed(image)
    wanted = {path: (partner(path, mask, "_mask"), partner(path, truth, "_truth")) for path in found}
    taken = {other for pair in wanted.values() for other in pair}
    for path in found:
        for place, other in enumerate(wanted[path]):
            if other not in (None, path) and other in wanted and wanted[other][place] == path:
                raise ValueError(
                    f"data.image={image}: either of {path} and {other} would be the other's mask or truth; name it "
                    "NAME_mask or NAME_truth, or tell them apart by patterns such as '*.jpg' and '*.png'"
                )
    each = [(path, *pair) for path, pair in wanted.items() if path not in taken]
    if not each:
        raise ValueError(f"data.image={image} holds no picture; give a folder or a pattern with pictures in it")
    root = os.path.commonpath([os.path.dirname(path) for path, *_ in each])
    return [Files(os.path.relpath(path, root), path, *pair) for path, *pair in each]


def listed(path: str) -> list[str]:
    """The files of a folder whose ending is that of a picture, or those that a pattern matches."""
    if is_pattern(path):
        return sorted(file for file in glob.glob(plain(path), recursive=True) if os.path.isfile(file))
    Image.init()
    endings = Image.registered_extensions()
    files = (file for file in Path(plain(path)).iterdir() if file.suffix.lower() in endings and file.is_file())
    return sorted(str(file) for file in files if not file.name.startswith("."))


def partner(image: str, others: str | None, suffix: str) -> str | None:
    """The file among `others` that belongs to `image`; one file belongs to all."""
    if others is None or not is_several(others):
        return others
    stem = Path(image).stem
    files = {Path(file).stem: file for file in listed(others) if file != image}
    folder = os.path.dirname(others) if is_pattern(others) else others
    return files.get(f"{stem}{suffix}") or files.get(stem) or os.path.join(folder, f"{stem}.*")


def configured(cfg: DictConfig, files: Files) -> DictConfig:
    """The configuration of one of the pictures; `output.path` is a folder, or a pattern such as fixed/*.jpg."""
    part = cfg.copy()
    for key in ("image", "mask", "truth"):
        if files_named(cfg, key) is not None:
            part.data[key] = getattr(files, key)
    if cfg.output.path is not None:
        wanted = cfg.output.path if "*" in cfg.output.path else os.path.join(cfg.output.path, "*.png")
        part.output.path = wanted.replace("*", os.path.splitext(files.name)[0])
    return part


def check_outputs(cfg: DictConfig, each: list[Files]) -> None:
    """Raises ValueError where the results of two pictures would be one file."""
    taken: dict[str, str] = {}
    for files in each if cfg.output.path is not None else ():
        path = configured(cfg, files).output.path
        if path in taken:
            raise ValueError(f"output.path={cfg.output.path}: {path} would be of both {taken[path]} and {files.image}")
        taken[path] = files.image


def finished(cfg: DictConfig, folder: Path, files: Files) -> Path | None:
    """Where a run beside `folder`, or in it, has repaired this picture, from these files and in this very way."""
    paths = (plain(path) for path in files[1:] if path is not None)
    # The time of the change, too: a file that was moved here may be of an earlier day.
    newest = max(max(os.stat(path).st_mtime, os.stat(path).st_ctime) for path in paths if os.path.exists(path))
    for config in sorted(folder.parent.glob(f"*/{glob.escape(files.name)}/config.yaml")):
        metrics = config.with_name("metrics.json")
        if (
            metrics.exists()
            and os.path.getmtime(metrics) > newest
            and is_done(json.loads(metrics.read_text()))
            and config.read_text() in configurations(cfg, config)
            and (cfg.output.path is None or os.path.exists(plain(cfg.output.path)))
        ):
            return config.parent
    return None


def configurations(cfg: DictConfig, saved: Path) -> set[str]:
    """What the file `saved` holds if it is of the same run, which may be one of several parts."""
    measured = as_measured(cfg, OmegaConf.load(saved))
    return {OmegaConf.to_yaml(measured, resolve=not to_be_measured(measured)), OmegaConf.to_yaml(cfg)}
