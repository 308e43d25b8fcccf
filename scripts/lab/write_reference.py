"""Writes docs/reference/options.md: every option with its default, its type and range, and what it does.

    python scripts/lab/write_reference.py
    python scripts/lab/write_reference.py --check   exits with 1 if the page is out of date, and writes nothing

Defaults and meanings are those of configs/; types and ranges those of the annotations in the code.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml
from hydra.utils import get_object

from dip.config.check import OPTIONS
from dip.config.compose import CONFIGS
from dip.options import described, options_of

PAGE = CONFIGS.parent / "docs" / "reference" / "options.md"
INTRO = """# Options

*`scripts/lab/write_reference.py` writes this page from `configs/` and the code. Do not edit it.*

Give an option as `key=value` and a choice as `group=choice`: `python train.py model=skip input.noise=0.03`. A default
such as *thin 2, large 6* depends on the hole. `null` is no value. The [glossary](glossary.md) explains the words.
`python train.py --hydra-help` lists the keys of Hydra itself, such as `hydra.run.dir`.
"""
OPTION_COLUMNS = ("option", "default", "type and range", "what it does")
SELECT = re.compile(r"\$\{oc\.select:([\w.]+),(\w+)\}")  # the value of another option, where there is one
PICK = re.compile(r"\$\{pick:\s*(.+?),\s*(.+?)\}")  # the value for thin and for large holes


class Key(NamedTuple):
    name: str
    value: str  # as written
    comment: str  # at the end of the line


class File(NamedTuple):
    about: str  # the comment at the top
    defaults: dict[str, str]  # group: choice; "" for a file of the same group
    keys: list[Key]


def read(group: str, name: str) -> File:
    """A file of configs/, with the full names of its keys."""
    text = (CONFIGS / group / f"{name}.yaml").read_text()

    def walk(node: Any, prefix: str) -> Iterator[Key]:
        for key, value in node.value:
            if isinstance(value, yaml.MappingNode):
                yield from walk(value, f"{prefix}{key.value}.")
            elif key.value != "defaults":
                start, end = value.start_mark.index, value.end_mark.index
                rest_of_line = text[end:].partition("\n")[0]
                yield Key(prefix + key.value, text[start:end], rest_of_line.partition("# ")[2])

    about = " ".join(line[2:] for line in text.splitlines() if re.match(r"# [^@ ]", line))
    listed = [each if isinstance(each, dict) else {"": each} for each in yaml.safe_load(text).get("defaults", ())]
    defaults = {re.sub("^override /", "", own): of for each in listed for own, of in each.items() if of != "_self_"}
    return File(about, defaults, list(walk(yaml.compose(text), "" if is_global(group, text) else f"{group}.")))


def is_global(group: str, text: str) -> bool:
    return group == "" or "# @package _global_" in text


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


BY_HOLE = {key.name: PICK.sub(r"thin \1, large \2", key.value) for key in read("by_hole", "default").keys}
SET_BY_RECIPES = {key.name for recipe in names("experiment") for key in read("experiment", recipe).keys}


def default(key: Key) -> str:
    if key.value == "???":
        return "set by the recipe" if key.name in SET_BY_RECIPES else "none; required"
    if at := SELECT.fullmatch(key.value):
        return f"that of `{at[1]}`, or `{at[2]}`"
    by_hole = BY_HOLE.get(key.value.strip("${}"), PICK.sub(r"thin \1, large \2", key.value))
    return f"`{key.value}`" if by_hole == key.value else by_hole


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def rows(keys: Sequence[Key], targets: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """A row for each option, and for each part within a group. targets: what is built from the keys below a name."""
    for key in keys:
        above, _, last = key.name.rpartition(".")
        if last == "_target_" and key.value != "???":
            if "." in above:
                yield f"`{above}`", f"`{key.value.rpartition('.')[2]}`", "a part", key.comment
        elif last != "_partial_":
            target = targets.get(above, "")
            annotations = options_of(get_object(target)) if target.startswith("dip.") else {}
            annotation = OPTIONS.get(key.name, annotations.get(last, Any))
            kind = "" if annotation is Any else described(annotation)
            yield f"`{key.name}`", default(key), kind, key.comment


def choice(group: str, name: str, is_default: bool) -> str:
    """The section of one file of a group."""
    file = read(group, name)
    inherited = [key for base in file.defaults.values() for key in read(group, base).keys]
    targets = {key.name.removesuffix("._target_"): key for key in inherited + file.keys if "._target_" in key.name}
    about = file.about or targets[group].comment
    title = f"### `{group}={name}`{' (default)' if is_default else ''}\n\n{about[:1].upper()}{about[1:].rstrip('.')}.\n"
    options = [key for key in file.keys if key.name != group]  # of none.yaml, which is the whole group
    own = list(rows(options, {above: key.value for above, key in targets.items()}))
    return f"{title}\n{table(OPTION_COLUMNS, own)}" if own else title


def recipe(group: str, name: str) -> tuple[str, str, str]:
    """The row of a recipe or a sweep: its name, its description, and what it sets."""
    file = read(group, name)
    sets = [f"`{own}={of}`" if own else f"all of `{of}`" for own, of in file.defaults.items()]
    by_hole = {f"${{{key.name}}}": key.value for key in file.keys}
    for key in [key._replace(value=by_hole.get(key.value, key.value)) for key in file.keys]:
        own, value = key.name.removeprefix("hydra.sweeper.params."), default(key)
        sets.append(f"`{own}={key.value}`" if value.startswith("`") else f"`{own}`: {value}")
    return f"`{name}`", file.about.partition(" Its source")[0], ", ".join(sets)


def write_page() -> str:
    train, by_hole = read("", "train"), read("by_hole", "default")
    chosen = train.defaults | read("experiment", train.defaults["experiment"]).defaults
    about = dict(re.findall(r"^  - (\w+): .*# (.+)$", (CONFIGS / "train.yaml").read_text(), re.MULTILINE))
    sections = [INTRO, "## Options of every run\n", table(OPTION_COLUMNS, list(rows(train.keys, {})))]
    sections += [f"## `by_hole`: {about['by_hole']}\n", f"{by_hole.about}\n"]
    each = [
        (f"`{key.name}`", PICK.sub(r"\1", key.value), PICK.sub(r"\2", key.value), key.comment) for key in by_hole.keys
    ]
    sections.append(table(("option", "thin", "large", "the default of"), each))
    for group in [group for group in train.defaults if group not in ("by_hole", "hydra", "experiment", "sweep")]:
        sections.append(f"## `{group}`: {about[group]}\n")
        sections += [choice(group, name, name == chosen[group]) for name in names(group)]
    for group, title in (("experiment", "Recipes: `experiment`"), ("sweep", "Sweeps: `sweep`, with `-m`")):
        each = [recipe(group, name) for name in names(group)]
        sections += [f"## {title}\n", table(("name", "what it is", "what it sets"), each)]
    return "\n".join(sections)


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(write_page())
    elif not PAGE.exists() or PAGE.read_text() != write_page():
        sys.exit(f"{PAGE} is out of date; python scripts/lab/write_reference.py writes it")


if __name__ == "__main__":
    main()
