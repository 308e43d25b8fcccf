"""The configuration of a run that resumes: what may change, and what is refused."""

import re

import pytest
from omegaconf import OmegaConf

from dip.config.compose import compose, to_yaml, with_hole_kind
from dip.config.resume import resumed_config, same_config
from dip.errors import UserError
from dip.files import write_text
from dip.results.folder import RunFolder


@pytest.fixture
def started(config, tmp_path):
    """started("key=value", ...): the folder of a run with this configuration, as it was when the run started."""

    def start(*overrides):
        folder = RunFolder(tmp_path / "run", resume=True)
        write_text(folder.config, to_yaml(with_hole_kind(config(*overrides), "thin")))
        return folder

    return start


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.depth=1"], "model.depth stays as it is in a resumed run; only keys of trainer, callbacks"),
        (["seed=3"], "seed stays as it is"),
        (["data=random_pixels"], "data stays as it is"),
        (["callbacks.nothing=1"], "config.yaml: .*nothing"),
    ],
)
def test_what_the_checkpoint_holds_cannot_be_turned(config, started, overrides, said):
    with pytest.raises(UserError, match=said):
        resumed_config(started(), config(), overrides)


def test_other_keys_are_turned_and_the_rest_is_as_the_run_began(config, started):
    folder = started("optimizer.lr=0.123")
    given = config("trainer.max_steps=77", "callbacks.animation=null")
    cfg = resumed_config(folder, given, ["resume=x", "trainer.max_steps=77", "callbacks.animation=null"])
    assert (cfg.trainer.max_steps, cfg.callbacks.animation, cfg.optimizer.lr) == (77, None, 0.123)
    assert "by_hole" not in cfg


def test_a_callback_that_was_left_out_can_be_had_again(config, started):
    turned = "callbacks.animation.count=5"
    folder = started("callbacks.animation=null")
    assert resumed_config(folder, config(turned), ["resume=x", turned]).callbacks.animation.count == 5


def test_a_run_of_another_version_is_refused(config, started):
    folder = started()
    saved = OmegaConf.load(folder.config)
    del saved["large_from"]
    OmegaConf.save(saved, folder.config)
    with pytest.raises(UserError, match=r"config.yaml is of another version, without large_from; start a new run"):
        resumed_config(folder, config(), ["resume=x"])
    old = ("callbacks.results", "dip.callbacks.Results"), ("callbacks.results", None), ("texture", "dip.Quilting")
    for part, name in old:
        folder = started("texture=patches")
        saved = OmegaConf.load(folder.config)
        OmegaConf.update(saved, f"{part}._target_", name)
        OmegaConf.save(saved, folder.config)
        with pytest.raises(UserError, match=re.escape(f"of another version, with {name}; start a new run")):
            resumed_config(folder, config("texture=patches"), ["resume=x"])


def test_a_file_that_is_no_yaml_is_named(config, started):
    folder = started()
    folder.config.write_text("model: [")
    with pytest.raises(UserError, match=r"config\.yaml: while parsing"):
        resumed_config(folder, config(), ["resume=x"])


def test_a_run_is_the_same_whatever_only_says_how_it_is_started(config, started):
    folder = started()
    assert same_config(folder, config())
    assert same_config(folder, config("hole_kind=thin", "threads=1", "objective=psnr_hole", "trainer.devices=[0]"))
    assert not same_config(folder, config("trainer.max_steps=5"))
    told = "but the run in this folder has"
    refused = {"seed=1": f"seed=1, {told} seed=0", "hole_kind=large": f"fill.weight=0.03, {told} fill.weight=0.0"}
    for given, said in refused.items():
        with pytest.raises(UserError, match=f"{said}; sweep into another"):
            same_config(folder, config(given))


def test_a_run_of_parts_is_the_same_with_its_table(tmp_path):
    folder = RunFolder(tmp_path / "run", resume=True)
    write_text(folder.config, to_yaml(compose()))
    assert same_config(folder, compose())
    with pytest.raises(UserError, match=r"by_hole\.depth=3, but the run in this folder has by_hole\.depth="):
        same_config(folder, compose(["by_hole.depth=3"]))
