import pytest

from dip.errors import UserError
from dip.studio.options import TURNED, check_overrides, explanations
from dip.studio.page import REFERENCE


@pytest.mark.parametrize(
    "text",
    ["data.image=x", "resume=latest", "hydra.run.dir=x", "output.path=x", "model._target_=os.system", "data=noisy"],
)
def test_files_and_code_are_not_given_in_the_page(text):
    with pytest.raises(UserError, match="is not for this page"):
        check_overrides({}, f"seed=1 {text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps", "steps"),
        ("name='a", "options: No closing quotation"),
        ("model.depth=deep", "model.depth=deep, but it"),
    ],
)
def test_what_is_no_option_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        check_overrides({}, text)


def test_options_are_taken_as_on_the_command_line():
    assert check_overrides({}, "model.depth=3  trainer.max_steps=5") == ["model.depth=3", "trainer.max_steps=5"]
    assert check_overrides({"members": " 2", "model.widths": "[4, 6]", "hole_kind": ""}, None) == [
        "members=2",
        "model.widths=[4, 6]",
    ]


def test_each_option_with_a_box_is_explained():
    said = explanations(REFERENCE)
    assert all(10 < len(said[key]) < 120 for key in TURNED)
    assert said["model.depth"].startswith("levels")
