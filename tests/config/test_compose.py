"""What configs/ compose to, and what their resolvers give."""

import re

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from dip.config.compose import (
    CONFIGS,
    compose,
    depends_on_hole_kind,
    job_folder,
    needs_hole_kind,
    options,
    stem,
    swept_overrides,
    to_yaml,
    with_hole_kind,
)
from dip.errors import UserError


def test_recipes_are_what_they_say(config):
    published = config("experiment=published")
    assert (published.optimizer.lr, published.model.output, published.input.noise) == (0.1, "linear", 0)
    recipe = OmegaConf.load(CONFIGS / "experiment" / "published.yaml")
    assert (recipe.trainer.max_steps, recipe.trainer.precision) == (6000, "32-true")
    assert [config(f"hole_kind={kind}").input.noise for kind in ("thin", "large")] == [0.2, 0.5]
    assert config("experiment=quick") == config()


def test_a_single_run_varies_nothing():
    assert swept_overrides() == {}


@pytest.mark.parametrize("recipe", ["quick", "quality"])
@pytest.mark.parametrize("part", ["penalty", "fill", "texture", "average", "stopping"])
def test_a_part_that_is_left_out_leaves_no_key_behind(config, recipe, part):
    assert config(f"experiment={recipe}", f"{part}=none")[part] is None


TABLE = re.findall(r"^(\w+):.*# ([\w.]+)(?: of (\S+))?$", (CONFIGS / "by_hole" / "default.yaml").read_text(), re.M)


@pytest.mark.parametrize(("name", "key", "choice"), TABLE)
def test_a_value_of_the_table_reaches_the_option_beside_it(name, key, choice):
    choices = [choice if "=" in choice else f"penalty={choice}"] if choice else []
    for kind in ("thin", "large"):
        cfg = compose([*choices, f"by_hole.{name}=${{pick:7,8}}", f"hole_kind={kind}"])
        assert OmegaConf.select(cfg, key) == {"thin": 7, "large": 8}[kind]
        assert OmegaConf.select(compose([*choices, f"by_hole.{name}=9", f"hole_kind={kind}"]), key) == 9


def test_every_value_of_the_table_says_where_it_goes():
    assert [name for name, *_ in TABLE] == list(compose().by_hole)


def test_an_option_of_the_table_can_be_given_for_both_kinds_of_holes():
    cfg = compose(["model.depth=4", "optimizer.lr=0.5"])
    assert [with_hole_kind(cfg, kind).model.depth for kind in ("thin", "large")] == [4, 4]


def test_whether_the_hole_has_to_be_measured():
    given = {"quick": compose(), "thin": compose(["hole_kind=thin"]), "text": compose(["experiment=paper_text"])}
    assert {name: needs_hole_kind(cfg) for name, cfg in given.items()} == {"quick": True, "thin": False, "text": False}
    assert {name: depends_on_hole_kind(cfg) for name, cfg in given.items()} == {
        "quick": True,
        "thin": True,
        "text": False,
    }
    every = [f"by_hole.{name}=1" for name in compose().by_hole]
    assert not depends_on_hole_kind(compose(every))


def test_a_value_that_depends_on_the_hole_has_none_before_it_is_measured():
    with pytest.raises(Exception, match="hole_kind=auto is measured in the picture, and not known before"):
        compose().model.depth  # noqa: B018


def test_the_yaml_of_a_run_has_no_table_once_the_hole_is_measured_and_is_the_same_configuration():
    auto = compose()
    for cfg in (with_hole_kind(auto, "thin"), with_hole_kind(auto, "large"), compose(["experiment=paper_text"])):
        text = to_yaml(cfg)
        assert "by_hole" not in text
        assert "${" not in text
        again = OmegaConf.create(text)
        assert options(again) == options(cfg)
        assert to_yaml(again) == text
    text = to_yaml(auto)
    assert "${by_hole.depth}" in text
    assert "${pick:" in text
    again = OmegaConf.create(text)
    assert to_yaml(again) == text
    assert again.hole_kind == "auto"
    for kind in ("thin", "large"):
        assert options(with_hole_kind(again, kind)) == options(with_hole_kind(auto, kind))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_name_of_a_run_is_that_of_its_picture(tmp_path, monkeypatch):
    names = {None: "example", "a/b.jpg": "b", "scans": "scans", "scans/*.tif": "scans", "*.tif": "pictures"}
    assert {path: stem(path) for path in names} == names
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(touch(tmp_path, "here/a.png", "photo[1].png", "trip [1].b/a.png"))
    monkeypatch.chdir("here")
    names = {"../*.png": tmp_path.name, "..": tmp_path.name, "../here/*": "here", "~/photo[1].png": "photo[1]"}
    names |= {"../photo[1].png": "photo[1]", "../trip [1].b": "trip [1].b", "../trip [1].b/**/*": "trip [1].b"}
    names |= {"../photo[2].png": tmp_path.name, ".": "pictures", "/": "pictures", "~": tmp_path.name}
    assert {path: stem(path) for path in names} == names
    assert compose(["data.image=a/photo.jpg"]).name == "photo"


def test_folders_are_named_by_the_overrides_and_fit_everywhere():
    assert job_folder("model.depth=3,model.widths=[4,6]") == "model.depth=3,model.widths=[4,6]"
    assert job_folder("data.image=a/b/Bär 1.jpg,seed=1").startswith("data.image=Bär_1.jpg,seed=1_")
    assert job_folder("") == "run"
    names = [
        *("name=a b", "name=a_b", "name=a/b", "name=c/b", "name='a b'"),
        *(f"name={sign * length}" for sign in "aä😀" for length in (140, 150, 151, 300, 301)),
    ]
    folders = [job_folder(name) for name in names]
    assert len({*folders, job_folder("")}) == len(names) + 1
    assert all("/" not in folder and len(folder.encode()) < 200 for folder in folders)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml")))
def test_every_prepared_sweep_turns_keys_that_there_are(preset):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = hydra_compose("train", [f"sweep=[{preset}]", "hole_kind=thin"], return_hydra_config=True)
    assert all(OmegaConf.select(cfg, key) is not None for key in cfg.hydra.sweeper.params)


def test_a_key_that_there_is_not_is_refused():
    with pytest.raises(Exception, match=r"Could not override 'model\.dept'"):
        compose(["model.dept=3"])


def test_the_kind_of_a_hole_is_one_of_the_two():
    with pytest.raises((UserError, Exception), match="hole_kind=deep is measured"):
        with_hole_kind(compose(), "deep").model.depth  # noqa: B018
