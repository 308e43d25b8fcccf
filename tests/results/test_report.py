"""Reports of folders as runs leave them, made by hand; test_browser looks at the page of a real sweep."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from forked import run_forked
from PIL import Image
from torch.utils.tensorboard.writer import SummaryWriter

from dip.results.report.page import picture_adjusted, settings, write_report
from dip.results.report.tables import differing_keys, find_runs, read_runs

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def leave(tmp_path):
    """leave("name", {"model.depth": 3}, psnr_hole=20.0): the folder of a run, with a result if there are metrics."""

    def make(name, config, failure=None, picture=0, **metrics):
        folder = tmp_path / "sweep" / name
        folder.mkdir(parents=True)
        nested = {"data": {"image": "a.png", "mask": "m.png"}, "model": {"_target_": "dip.nets.unet.UNet"}, "seed": 0}
        for key, value in config.items():
            group, _, last = key.rpartition(".")
            (nested.setdefault(group, {}) if group else nested)[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(nested))
        (folder / "train.log").write_text(f"[2026-01-01 12:00:00][dip.repair][ERROR] - error: {failure}\n")
        if metrics:
            (folder / "metrics.json").write_text(json.dumps({"steps": 3, "stopped_by": "max_steps", **metrics}))
            for file in ("masked", "composite", "truth", "biharmonic"):
                Image.fromarray(np.full((12, 16), picture, np.uint8)).save(folder / f"{file}.png")
        return folder

    return make


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "report.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_options_that_differ_all_metrics_and_what_failed(leave, tmp_path):
    for number, depth in enumerate((3, 4)):
        leave(f"{number}_", {"model.depth": depth, "model.widths": [4, 6]}, psnr_hole=20.0 + depth, psnr_held_out=19.0)
    leave("10_", {"model.depth": 9, "model.widths": [4, 6]}, failure="too | small")
    write_report(tmp_path / "sweep")
    table = rows(tmp_path / "sweep")
    assert [row["run"] for row in table] == ["0_", "1_", "10_"]  # in the order of their numbers
    assert list(table[0]) == ["run", "model.depth", "state", "psnr_hole", "psnr_held_out", "steps"]
    assert [row["psnr_hole"] for row in table] == ["23.0", "24.0", ""]
    assert [row["state"] for row in table] == ["max_steps", "max_steps", "no result: too | small"]
    markdown = (tmp_path / "sweep" / "report.md").read_text()
    assert "| 10_ | 9 | no result: too \\| small | - | - | - |" in markdown
    assert "Best. By PSNR in the hole:\n\n- depth=4: 24.00 dB\n" in markdown


def test_an_ensemble_is_one_row_and_its_members_are_neither_rows_nor_columns(leave, tmp_path):
    smooth = {"before_texture": {"psnr_hole": 18.0}, "baseline": {"psnr_hole": 19.0}}
    leave("0_", {"seed": 0}, psnr_hole=21.0, members={"member_1": {"psnr_hole": 20.0}}, **smooth)
    leave("0_/member_1", {"seed": 0}, psnr_hole=20.0)
    write_report(tmp_path / "sweep")
    table = rows(tmp_path / "sweep")
    assert [row["run"] for row in table] == ["0_"]
    metrics = ["psnr_hole", "steps", "before_texture.psnr_hole", "baseline.psnr_hole"]
    assert list(table[0])[-4:] == metrics


def test_the_runs_that_find_the_colours_of_one_are_no_rows(leave, tmp_path):
    leave("0_", {"seed": 0}, psnr_hole=21.0)
    leave("0_/fill", {"seed": 0}, psnr_hole=20.0)
    leave("0_/fill/member_1", {"seed": 0}, psnr_hole=20.0)
    write_report(tmp_path / "sweep")
    assert [(row["run"], row["psnr_hole"]) for row in rows(tmp_path / "sweep")] == [("0_", "21.0")]


def test_a_page_needs_no_other_file(leave, tmp_path):
    leave("0_", {"model.depth": 3}, psnr_hole=20.0, baseline={"psnr_hole": 19.0})
    leave("1_", {"model.depth": 4}, psnr_hole=21.0, baseline={"psnr_hole": 19.0})
    write_report(tmp_path / "sweep")
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert set(re.findall(r'(?:src|href)="(\w+:)', page)) == {"data:"}
    assert set(re.findall(r'xlink:href="(.)', page)) <= {"#"}
    assert "@import" not in page
    assert "biharmonic (baseline): 19.00 dB" in page


def test_names_are_text_and_never_markup(leave, tmp_path):
    leave("0_<b>", {"input": "<script>alert(1)</script>"}, psnr_hole=20.0)
    leave("1_", {"input": "x"}, failure="<img src=x>", psnr_hole=20.0)
    leave("2_", {"input": "x"}, failure="<img src=x>")
    write_report(tmp_path / "sweep")
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "0_<b>" not in page


def test_an_option_that_only_one_part_has_is_left_out_where_the_part_is_listed(leave, tmp_path):
    leave("0", {"model._target_": "a.UNet", "model.depth": 3, "model.norm": "batch"}, loss=1.0)
    leave("1", {"model._target_": "a.UNet", "model.depth": 4, "model.norm": "batch"}, loss=1.0)
    leave("2", {"model._target_": "b.Skip"}, loss=1.0)
    leave("3", {"model._target_": "b.Skip", "penalty": None, "name": "other"}, loss=1.0)
    assert differing_keys(read_runs(tmp_path / "sweep")) == ["model", "model.depth", "penalty"]
    assert "seed: 0" in settings(read_runs(tmp_path / "sweep"))


def test_the_mask_is_listed_where_it_is_more_than_the_images_own(leave, tmp_path):
    for number, (image, mask) in enumerate([("a", "a_mask"), ("b", "b_mask")]):
        leave(f"{number}", {"data.image": f"in/{image}.png", "data.mask": f"in/{mask}.png"}, loss=1.0)
    assert differing_keys(read_runs(tmp_path / "sweep")) == ["data.image"]
    leave("2", {"data.image": "in/b.png", "data.mask": "in/other.png"}, loss=1.0)
    assert differing_keys(read_runs(tmp_path / "sweep")) == ["data.image", "data.mask"]


@pytest.mark.parametrize("key", ["data.example.photograph", "data.image"])
def test_no_image_hides_an_option_and_no_name_is_a_formula(leave, tmp_path, key):
    for picture, level in (("a", 10.0), ("b", 30.0)):
        for loss, gain in (("$a_$", 0.0), ("$b_$", 2.0)):
            leave(f"{picture}{gain}", {key: picture, "loss": loss}, psnr_hole=level + gain)
    write_report(tmp_path / "sweep")
    assert "adjusted for the image" in (tmp_path / "sweep" / "report.html").read_text()


def test_each_image_has_its_best_and_none_hides_an_option(leave, tmp_path):
    for picture, level in (("a", 10.0), ("b", 30.0)):
        for depth, gain in ((3, 0.0), (4, 2.0)):
            own = {"data.image": f"{picture}.png", "model.depth": depth}
            leave(f"{picture}{depth}", own, picture=ord(picture), psnr_hole=level + gain)
    runs = read_runs(tmp_path / "sweep")
    assert picture_adjusted(runs, "psnr_hole") == [20.0, 22.0, 20.0, 22.0]
    write_report(tmp_path / "sweep")
    markdown = (tmp_path / "sweep" / "report.md").read_text()
    assert "- a: depth=4: 12.00 dB" in markdown
    assert "- b: depth=4: 32.00 dB" in markdown


def test_a_run_that_has_diverged_is_never_the_best(leave, tmp_path):
    for number, quality in enumerate((float("nan"), 20.0, float("inf"))):
        leave(f"{number}", {"optimizer.lr": 10.0**-number}, psnr_hole=quality)
    write_report(tmp_path / "sweep")
    markdown = (tmp_path / "sweep" / "report.md").read_text()
    assert "- lr=0.1: 20.00 dB" in markdown
    assert "| 0 | 1 | max_steps | nan | 3 |" in markdown


def test_without_ground_truth_nothing_is_called_the_best(leave, tmp_path):
    leave("0", {"seed": 0}, psnr_known=30.0)
    leave("1", {"seed": 1}, psnr_known=40.0)
    write_report(tmp_path / "sweep")
    markdown = (tmp_path / "sweep" / "report.md").read_text()
    assert "No run can be called the best without a ground truth (data.truth)" in markdown
    assert '<tr class="best' not in (tmp_path / "sweep" / "report.html").read_text()


def test_the_report_of_a_batch_names_the_images_that_failed(leave, tmp_path):
    leave("a.png", {"data.image": "in/a.png"}, psnr_known=30.0)
    whole = tmp_path / "sweep"
    (whole / "config.yaml").write_text("{}")
    (whole / "train.log").write_text("[now][dip.repair][ERROR] - error: 1 of 2 pictures are not repaired: b.png\n")
    (whole / ".submitit").mkdir()
    (whole / ".submitit" / "train.log").touch()
    assert [run.name for run in find_runs(whole)] == ["a.png"]
    write_report(whole)
    assert "1 of 2 pictures are not repaired: b.png" in (whole / "report.md").read_text()
    assert "1 of 2 pictures are not repaired: b.png" in (whole / "report.html").read_text()


def test_the_page_of_one_run_has_a_slider_its_curves_and_the_animation(leave, tmp_path):
    folder = leave("only", {}, psnr_hole=20.0)
    Image.new("L", (16, 12)).save(folder / "training.gif")
    with SummaryWriter(str(folder)) as board:
        for step in (1, 2, 3):
            board.add_scalar("loss", 1 / step, step)
            board.add_scalar("psnr_hole", 10 + step, step)
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert '<input type="range"' in page
    assert "data:image/gif" in page
    assert page.count("<svg") == 2
    assert "model: UNet" in page


def test_the_page_of_one_run_that_failed_says_why(leave):
    folder = leave("only", {}, failure="out of memory")
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "No result: out of memory" in page
    assert '<input type="range"' not in page


@pytest.mark.parametrize(("name", "content"), [("metrics.json", "{"), ("config.yaml", "a: ["), ("metrics.json", "[]")])
def test_a_file_that_cannot_be_read_spoils_only_its_own_row(leave, tmp_path, name, content):
    leave("0", {"seed": 0}, psnr_hole=20.0)
    (leave("1", {"seed": 1}, psnr_hole=20.0) / name).write_text(content)
    write_report(tmp_path / "sweep")
    good, bad = rows(tmp_path / "sweep")
    assert good["psnr_hole"] == "20.0"
    assert f"no result: {name} cannot be read" in bad["state"]


@pytest.mark.parametrize(
    ("folder", "said"), [("nowhere", "nowhere is not a folder; give"), (".", "holds no run: there is no config.yaml")]
)
def test_the_script_refuses_in_one_line(tmp_path, folder, said):
    result = run_forked(REPOSITORY / "scripts" / "report.py", folder, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr.splitlines()[-1]


def test_a_denoised_picture_is_shown_beside_its_measurement_and_judged_over_all_pixels(leave, tmp_path):
    for number, score in enumerate((25.0, 26.0)):
        folder = leave(f"{number}", {"model.depth": number + 2}, psnr_all=score, baseline={"psnr_all": 24.0})
        for old, new in (("masked", "measured"), ("composite", "output"), ("biharmonic", "non_local_means")):
            (folder / f"{old}.png").rename(folder / f"{new}.png")
    write_report(tmp_path / "sweep")
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert all(label in page for label in ("measured", "non-local means (baseline): 24.00 dB", "depth=3: 26.00 dB"))
    write_report(tmp_path / "sweep" / "1")
    assert "Before and after" in (tmp_path / "sweep" / "1" / "report.html").read_text()
