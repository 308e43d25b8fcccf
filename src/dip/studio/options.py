"""The options that the page has boxes for, and what may be typed into the box for all others."""

import re
from pathlib import Path
from shlex import split

from dip.config.messages import compose_checked, parse_checked
from dip.errors import UserError
from dip.repair.inpaint import NOT_HERE

TURNED = ("hole_kind", "members", "data.max_side", "model.depth", "model.widths", "trainer.max_steps")
NOT_TYPED = NOT_HERE | {"callbacks", "logger"}
ROW = re.compile(r"^\| `([\w.]+)` \| .* \| (.+) \|$", re.MULTILINE)


def explanations(reference: Path) -> dict[str, str]:
    """What each option does, in one line, by docs/reference/options.md; of the default choice where several have it."""
    found: dict[str, str] = {}
    for key, what in ROW.findall(reference.read_text()):
        found.setdefault(key, what.replace("`", ""))
    return found


def check_overrides(turned: dict[str, str], typed: str | None) -> list[str]:
    """The overrides of a repair. Raises UserError for one that is not for this page, or that the command refuses.

    turned: the values of options by name; an empty one is left to the recipe. typed: as on the command line.
    """
    try:
        overrides = split(typed or "")
    except ValueError as error:
        raise UserError(f"options: {error}") from error
    overrides = [f"{key}={value.strip()}" for key, value in turned.items() if value and value.strip()] + overrides
    for override in parse_checked(overrides):
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] in NOT_TYPED or key.endswith("_target_"):
            raise UserError(f"{override.input_line} is not for this page; use the command for it")
    if overrides:
        compose_checked(overrides)
    return overrides
