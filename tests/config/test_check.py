"""Bad options: each is refused in one line, with its value, the rule and the key to turn."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from dip.config.check import OPTIONS, check_types, check_values
from dip.config.compose import CONFIGS, compose
from dip.config.parts import check_part
from dip.errors import UserError
from dip.options import allows, check_options, checked, described, options_of


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.max_steps=0"], "trainer.max_steps=0, but it must be a whole number, at least 1"),
        (["large_from=0"], "large_from=0, but it must be a number, above 0"),
        (["seed=-1"], "seed=-1, but it must be a whole number, at least 0 and below 4294967296"),
        (["members=0"], "members=0, but it must be a whole number, at least 1"),
        (["hole_kind=deep"], "hole_kind=deep, but it must be one of auto, thin, large"),
        (
            ["data.hole=reddish"],
            "data.hole=reddish, but it must be black, white, alpha .*a number such as 1, a colour such as",
        ),
        (["model.depth=five"], "model.depth=five, but it must be a whole number"),
        (["model.padding=mirror"], "model.padding=mirror, but it must be one of zeros, reflect, replicate"),
        (["callbacks.images.count=0"], "callbacks.images.count=0, .*, at least 1; callbacks.images=null writes none"),
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["optimizer.betas=[0.9]"], "optimizer: "),
        (["optimizer=any", "optimizer._target_=torch.optim.SGD", "+optimizer.betas=[1,2]"], "optimizer: .*betas"),
        (
            ["data.image=null", "data.mask=null", "data.truth=null", "data.hole=white"],
            "data.hole=white speaks of a mask",
        ),
        (["frozen=[Linear]"], "frozen=Linear, but the network has no such layer; it has BatchNorm2d, "),
        (["model.depth=9"], "40x32 is too small for model.depth=9"),
        (["model.decoder_kernel=4"], "model.decoder_kernel=4, but .*; kernels are odd, such as 3 or 5"),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu, but this machine has cpu"),
        (["trainer.precision=17"], "trainer: .*17"),
        (["model=any", "model._target_=torch.nn.Conv2d"], "model: .*missing .*kernel_size"),
        (["model=any", "model._target_=torch.nn.Conv2d", "+model.kernel_size=3"], r"model: .* \(1, 3, 30, 38\)"),
        (["model=any", "model._target_=torch.nn.Nothing"], "model: .*torch.nn.Nothing"),
    ],
)
def test_bad_values_are_refused_in_words(config, built, tmp_path, overrides, message):
    if "trainer.accelerator=gpu" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=message):
        built(config(*overrides), tmp_path)


@pytest.mark.parametrize(
    "wrong", ["trusted_sd=0", "weight=-1", "members=0", "reduction=1", "share=0", "share=1.1", "decay=1"]
)
def test_what_makes_no_sense_for_the_guide_is_refused(config, run, tmp_path, wrong):
    with pytest.raises(UserError, match=rf"fill\.{wrong}"):
        run(config("hole_kind=large", f"fill.{wrong}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # before anything is written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.depth=five"], "model.depth=five, but it must be a whole number"),
        (["model.depth=2.5"], "model.depth=2.5, but it must be a whole number"),
        (["model.depth=true"], "model.depth=true, but it must be a whole number"),
        (["model.widths=4"], "model.widths=4, but it must be a list, each a whole number"),
        (["model.widths=[4,x]"], "model.widths=[4,x], but it must be a list, each a whole number"),
        (["input.noise=loud"], "input.noise=loud, but it must be a number"),
        (["output.overwrite=2"], "output.overwrite=2, but it must be true or false"),
        (["stopping.patience_steps=soon"], "stopping.patience_steps=soon, but it must be a whole number"),
        (["by_hole.depth=deep"], "by_hole.depth=deep, but it must be a whole number"),
        (["callbacks.progress.every_steps=0.5"], "callbacks.progress.every_steps=0.5, but it must be a whole number"),
        (["model=skip", "model.down=3"], "model.down=3, but it must be a list, each a whole number"),
        (["-m", "seed=0,x"], "seed=x, but it must be a whole number"),
        (["-m", "model=skip,unet", "optimizer.lr=0.1,fast"], "optimizer.lr=fast, but it must be a number"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_what_the_yaml_shows(arguments, said):
    with pytest.raises(UserError) as refused:
        check_types(arguments)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "arguments",
    [
        ["stopping.patience_steps=null", "data.max_side=null", "callbacks.animation=null"],
        ["input.noise=1", "optimizer.lr=1", "large_from=8"],  # whole numbers are numbers
        ["trainer.devices=[0]", "data.crop=[0,0,8,8]", "frozen=[Conv2d]", "model.widths=[]"],
        ["model=any", "model._target_=torch.nn.Conv2d", "+model.kernel_size=3", "~penalty"],
        ["model.depth=${by_hole.depth}"],
        ["-m", "seed=range(3)", "optimizer.lr=interval(0.1,1)", "model.depth=choice(1,2)", "input=noise,learned"],
        ["penalty=null", "~scheduler", "sweep=[seeds,depth_kernel]", "-m"],
        ["--help", "model.depth=five"],
    ],
    ids=" ".join,
)
def test_a_value_that_may_be_right_passes(arguments):
    check_types(arguments)


def test_a_value_that_is_missing_is_named(config):
    with pytest.raises(UserError, match=r"no value for data\.image; give data\.image=VALUE"):
        check_values(compose(["data=random_pixels"]))
    with pytest.raises(UserError, match=r"no value for data\.image, optimizer\.lr; give data\.image=VALUE"):
        check_values(config("data=random_pixels", "data.image=???", "optimizer.lr=???"))


def test_each_option_of_the_table_is_one_that_there_is():
    everywhere = [compose(["hole_kind=thin", f"scheduler={name}"]) for name in ("step", "cosine", "warmup")]
    found = {key for cfg in everywhere for key in OPTIONS if OmegaConf.select(cfg, key, default="none") != "none"}
    assert found == OPTIONS.keys()


FILES = [path for path in sorted(CONFIGS.rglob("*.yaml")) if "_target_: dip." in path.read_text()]


def parts(cfg, key):
    """Every part of ours in a configuration, with its key."""
    if not OmegaConf.is_dict(cfg):
        return
    if str(cfg.get("_target_")).startswith("dip."):
        yield key, cfg
    for name in cfg:
        yield from parts(cfg._get_node(name), f"{key}.{name}")


def beyond(annotation: Any) -> list[Any]:
    """Values just outside the bounds of an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ["nothing"]
    if origin is Annotated:
        kind, step = arguments[0], 1 if arguments[0] is int else 1e-6
        outside = {Ge: lambda b: b.ge - step, Gt: lambda b: b.gt, Le: lambda b: b.le + step, Lt: lambda b: b.lt}
        return [kind(outside[type(bound)](bound)) for bound in arguments[1:] if type(bound) in outside]
    if origin is not None and not isinstance(origin, type):
        return [value for argument in arguments for value in beyond(argument)]
    return []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.relative_to(CONFIGS).with_suffix("").as_posix())
def test_every_bound_in_an_annotation_is_kept_and_its_message_names_key_value_and_rule(file):
    cfg = compose([f"{file.parent.name}={file.stem}"]) if file.parent.name != "hydra" else None
    for key, part in parts(cfg and cfg[file.parent.name], file.parent.name):
        annotations = options_of(get_object(part._target_))
        for name in annotations.keys() & part.keys():
            for value in beyond(annotations[name]):
                wrong = OmegaConf.create({"_target_": part._target_, name: value})
                with pytest.raises(UserError) as refused:
                    check_part(wrong, key)
                rule = f"{key}.{name}={value}, but it must be {described(annotations[name])}"
                assert str(refused.value).startswith(rule)


def test_the_bounds_of_the_table_are_kept(config):
    tried = 0
    for key, annotation in OPTIONS.items():
        for value in beyond(annotation):
            cfg = config(*(["scheduler=step"] if key == "scheduler.step_size" else []))
            if "scheduler" not in key or key == "scheduler.step_size":
                OmegaConf.update(cfg, key, value)
                with pytest.raises(UserError, match=rf"^{key}={value}, but it must be "):
                    check_values(cfg)
                tried += 1
    assert tried > 8


@pytest.mark.parametrize(
    ("annotation", "words", "right", "wrong"),
    [
        (int, "a whole number", [0, -3], [1.0, "1", True, None, [1]]),
        (float, "a number", [0.5, 1], ["1", True, None, float("nan"), float("inf")]),
        (bool, "true or false", [True], [0, "true"]),
        (str, "a word", ["", "1"], [1, None]),
        (int | None, "a whole number or null", [3, None], [0.5]),
        (Annotated[int, Ge(1), Lt(9)], "a whole number, at least 1 and below 9", [1, 8], [0, 9]),
        (Annotated[float, Gt(0), Le(1)] | None, "a number, above 0 and at most 1, or null", [1, None], [0, 1.5]),
        (Literal["a", "b"], "one of a, b", ["a"], ["c", 1]),
        (Sequence[int], "a list, each a whole number", [[], [1, 2]], [1, [0.5], "12"]),
        (Sequence[Annotated[int, Ge(1)]], "a list, each a whole number, at least 1", [[3]], [[0]]),
        (Any, "anything", [None, 1, "x"], []),
    ],
)
def test_what_an_annotation_says_and_allows(annotation, words, right, wrong):
    assert described(annotation) == words
    assert all(allows(annotation, value) for value in right)
    assert not any(allows(annotation, value) for value in wrong)


@pytest.mark.parametrize(
    ("annotation", "end"),
    [
        (Annotated[int, Ge(1), "1 is none", "or so"], "at least 1; 1 is none; or so"),
        (Annotated[int, Ge(1), "null is all"] | None, "at least 1, or null; null is all"),
        (Annotated[int, Ge(1)] | None, "at least 1, or null"),
        (Literal["a", "b"], "one of a, b"),
    ],
)
def test_a_hint_in_an_annotation_ends_the_message(annotation, end):
    with pytest.raises(UserError) as refused:
        check_options({"key": annotation}, {"key": 0}, "group")
    assert str(refused.value).startswith("group.key=0, but it must be ")
    assert str(refused.value).endswith(end)


def test_a_class_that_is_built_in_python_checks_its_options_too():
    @checked
    class Part:
        def __init__(self, target: torch.Tensor, size: Sequence[int], share: Annotated[float, Gt(0)] = 1.0):
            self.share = share

    assert Part(torch.zeros(1), torch.Size([3, 4]), share=2).share == 2
    with pytest.raises(UserError, match=r"^share=0, but it must be a number, above 0$"):
        Part(torch.zeros(1), [3], 0)
    with pytest.raises(UserError, match=r"^size=\[3,x\], but it must be a list, each a whole number$"):
        Part(torch.zeros(1), [3, "x"])


def test_a_key_that_its_group_does_not_have_is_found_without_composing_again():
    with pytest.raises(ConfigKeyError) as raised:
        check_types(["model.dept=5"])
    assert raised.value.full_key == "model.dept"
    check_types(["model=any", "model._target_=torch.nn.Identity", "+model.dept=5", "-m"])
