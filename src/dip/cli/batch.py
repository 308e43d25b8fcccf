"""A batch: the files of a folder or a pattern, each with its mask and ground truth by name, repaired one by one."""

import glob
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from dip.config.check import check_values
from dip.config.compose import to_yaml
from dip.config.machine import choose_precision
from dip.config.resume import as_measured, load_config
from dip.errors import UserError
from dip.image.files.kinds import help_for, readable_endings
from dip.repair.run import interrupted, repair
from dip.results.folder import RunFolder

log = logging.getLogger(__name__)


class Files(NamedTuple):
    """The files of one picture; `name` is the picture's path below the folder that all of them lie in."""

    name: str
    image: str
    mask: str | None
    truth: str | None


def repair_all(cfg: DictConfig, folder: RunFolder) -> dict[str, Any]:
    """Repair each picture of a folder or pattern, in a folder of its own below `folder`; return their metrics.

    One that fails is logged and left out, and UserError is raised at the end. One that a run in a neighbouring folder
    has repaired already, from the same files and in the same way, is skipped.
    """
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)  # as config.yaml has it
    check_values(cfg)
    folder.check_new()
    each = find_pictures(cfg.data.image, *(files_named(cfg, key) for key in ("mask", "truth")))
    check_outputs(cfg, each)
    done: dict[str, Any] = {}
    with folder.begin(to_yaml(cfg)):
        for number, files in enumerate(each, 1):
            log.info("picture %d of %d: %s", number, len(each), files.image)
            try:
                done[files.name] = repair_one(configured(cfg, files), folder, files)
            except KeyboardInterrupt as interrupt:
                said = f"{len(done)} of {len(each)} pictures are repaired"
                raise interrupted(interrupt, said, cfg, folder) from None
            except UserError as error:
                log.error("error: %s", error)
            except Exception:
                log.exception("the run failed")
        if not done:  # a configuration that every picture refuses is not kept
            raise unrepaired(each, done)
    if len(done) < len(each):
        raise unrepaired(each, done)
    return done


def repair_one(cfg: DictConfig, folder: RunFolder, files: Files) -> dict[str, Any]:
    if before := find_finished(cfg, folder.path, files):
        log.info("it is repaired already, in %s", before)
        return before.metrics
    if cfg.output.path is not None:
        make_folder(Path(cfg.output.path).expanduser().parent)
    return repair(cfg, folder / files.name)


def unrepaired(each: list[Files], done: dict[str, Any]) -> UserError:
    failed = [files.name for files in each if files.name not in done]
    return UserError(f"{len(failed)} of {len(each)} pictures are not repaired: {', '.join(failed)}")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output.path={folder} cannot be written: {error.strerror}; give another folder") from None


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


def find_pictures(image: str, mask: str | None, truth: str | None) -> list[Files]:
    """Every picture in a folder or pattern, in the order of their names, without those that are a mask or the truth.

    mask, truth: folders or patterns too, where the partner of a.jpg is a.* or, for a mask, a_mask.*; one file is
    everybody's. A partner that is missing is named all the same, so that its picture is refused. Raises UserError
    where there is no picture, and for two files that would be each other's partner.
    """
    found, left_out = listed(image), unread(image)
    if found and left_out:
        log.warning("%s", left_out)
    wanted = {path: (partner(path, mask, "_mask"), partner(path, truth, "_truth")) for path in found}
    taken = {other for pair in wanted.values() for other in pair}
    for path in found:
        for place, other in enumerate(wanted[path]):
            if other not in (None, path) and other in wanted and wanted[other][place] == path:
                raise UserError(
                    f"data.image={image}: either of {path} and {other} would be the other's mask or truth; name it "
                    "NAME_mask or NAME_truth, or tell them apart by patterns such as '*.jpg' and '*.png'"
                )
    each = [(path, *pair) for path, pair in wanted.items() if path not in taken]
    if not each:
        more = f"; {left_out}" if left_out else ""
        raise UserError(f"data.image={image} holds no picture; give a folder or a pattern with pictures in it{more}")
    root = os.path.commonpath([os.path.dirname(path) for path, *_ in each])
    return [Files(os.path.relpath(path, root), path, *pair) for path, *pair in each]


def listed(path: str) -> list[str]:
    """The files of a folder whose ending is that of a picture, or those that a pattern matches."""
    endings = readable_endings() | ({""} if is_pattern(path) else set())
    return [file for file in files_at(path) if Path(file).suffix.lower() in endings]


def unread(path: str) -> str:
    """One line that counts the files of a folder or pattern that are not read, and says what helps; "" for none."""
    taken = set(listed(path))
    counts = Counter(Path(file).suffix.lower() or "no ending" for file in files_at(path) if file not in taken)
    each = [f"{count} {end}" + (f" ({help_for(end)})" if help_for(end) else "") for end, count in counts.most_common()]
    return f"left out of {path}, since they are not read: {', '.join(each)}" if each else ""


def files_at(path: str) -> list[str]:
    """The files of a folder, or those that a pattern matches, but for hidden ones."""
    found = glob.glob(plain(path), recursive=True) if is_pattern(path) else map(str, Path(plain(path)).iterdir())
    return sorted(file for file in found if os.path.isfile(file) and not os.path.basename(file).startswith("."))


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
    """Raise UserError where the results of two pictures would be one file."""
    taken: dict[str, str] = {}
    for files in each if cfg.output.path is not None else ():
        path = configured(cfg, files).output.path
        if path in taken:
            raise UserError(f"output.path={cfg.output.path}: {path} would be of both {taken[path]} and {files.image}")
        taken[path] = files.image


def find_finished(cfg: DictConfig, folder: Path, files: Files) -> RunFolder | None:
    """A run in or beside `folder` that has repaired this picture, from these files and in this very way."""
    paths = (plain(path) for path in files[1:] if path is not None)
    # The time of the change, too: a file that was moved here may be of an earlier day.
    newest = max(max(os.stat(path).st_mtime, os.stat(path).st_ctime) for path in paths if os.path.exists(path))
    for config in sorted(folder.parent.glob(f"*/{glob.escape(files.name)}/config.yaml")):
        metrics, run = config.with_name("metrics.json"), RunFolder(config.parent)
        if (
            metrics.exists()
            and os.path.getmtime(metrics) > newest
            and run.is_complete
            and config.read_text() in possible_configs(cfg, run)
            and (cfg.output.path is None or os.path.exists(plain(cfg.output.path)))
        ):
            return run
    return None


def possible_configs(cfg: DictConfig, run: RunFolder) -> set[str]:
    """What config.yaml of the same run may hold: with the hole measured, or of several parts without."""
    return {to_yaml(as_measured(cfg, load_config(run))), to_yaml(cfg)}
