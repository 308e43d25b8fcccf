"""Run a job: train one network, or run the children of the job and join their results."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from shlex import quote
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from dip.config.build import Experiment, Guide, build, build_writer, read_data
from dip.config.check import check_values
from dip.config.compose import to_yaml
from dip.config.parts import instantiate_group
from dip.config.resume import before_repair, same_config
from dip.errors import Interrupted, UserError
from dip.image.holes import hole_depth
from dip.image.masks import known_in_all
from dip.repair.advice import describe, describe_trust, explain_resource_errors, summary_table, warn_of_uncovered
from dip.repair.join import join
from dip.repair.members import log as members_log
from dip.repair.members import processes_for, run_each
from dip.repair.plan import Job, plan
from dip.results.folder import RunFolder
from dip.results.result import OutputFile, Result, Results, ResultWriter, load_result
from dip.training.interruption import Interruption
from dip.training.rollback import DivergenceGuard

log = logging.getLogger(__name__)
Build = Callable[..., Experiment]
BUILD: Build = build  # what the processes of members build with too


def repair(cfg: DictConfig, folder: RunFolder, build: Build = build) -> dict[str, Any]:
    """Repair the photograph of `cfg.data`; return what metrics.json holds.

    Raises UserError for bad input and a lack of memory or room, and Interrupted after a signal, with results saved.
    """
    with explain_resource_errors(cfg, folder):
        folder.check_new()
        check_values(cfg)
        job = plan(cfg, read_data(before_repair(cfg, folder)))
        if folder.resume:
            folder.check_parts({part.name for part in job.children} if job.has_parts else set())
        return run(job, folder, build=build).metrics


def run(job: Job, folder: RunFolder, guide: Guide | None = None, build: Build = build) -> Result:
    """Run a job in its folder, or load the result if it is complete there."""
    folder.check_new()
    if job.children:
        return load_result(folder) if is_complete(job, folder) else run_children(job, folder, build)
    return train(job, folder, guide, build)


def is_complete(job: Job, folder: RunFolder) -> bool:
    """Whether the runs in `folder` are done, and no key that is given now would change what they leave."""
    if not (folder.resumes and folder.is_complete and same_config(folder, job.cfg)):
        return False
    wanted = OutputFile(**job.cfg.output).wanted
    if wanted is not None and not wanted.exists():
        return False
    log.info("The run in %s is complete.", folder)
    return True


def run_children(job: Job, folder: RunFolder, build: Build) -> Result:
    """Run each child in a folder of its own; their results so far are joined, whatever ends the runs."""
    OutputFile(**job.cfg.output).check(job.photo.picture)
    check_first_run(job, folder, build)
    if job.has_parts:
        log.info("%d parts, one by one: regions, pieces of long holes, or thin and large holes", len(job.children))
    processes = processes_for(job) if build is BUILD else 1
    done: dict[str, Result] = {}
    guide = None
    with folder.begin(to_yaml(job.cfg)):
        try:
            if job.guide is not None:
                guide = find_colours(job, job.guide, folder, build)
            call = partial(run, guide=guide and guide._replace(seconds=0.0), build=build)
            for name, found in run_each(job, folder, call, processes):
                done[name] = found
        except KeyboardInterrupt as interrupt:
            what = "parts are repaired" if job.has_parts else "runs are done"
            raise interrupted(interrupt, f"{len(done)} of {len(job.children)} {what}", job.cfg, folder) from None
        finally:
            # An interrupted child, and those after it, may have results on the disk.
            results = {child.name: done.get(child.name) or load_result(folder / child.name) for child in job.children}
            complete = len(done) == len(job.children)
            result = join(job, folder, results, complete, 0.0 if guide is None else guide.seconds, processes)
    log.info(str(result.file) if job.has_parts else summary_table(result))
    return result


def check_first_run(job: Job, folder: RunFolder, build: Build) -> None:
    """Build the first run and drop it, so that most of what is refused is refused before anything is written."""
    first, within = job, folder
    while first.children:
        first = first.children[0]
        within = within / first.name
    build(first.cfg, first.photo, within)


def train(job: Job, folder: RunFolder, guide: Guide | None, build: Build) -> Result:
    """Train one network. Raises Interrupted after a signal, with the result saved."""
    experiment = build(job.cfg, job.photo, folder, guide, job.is_member)
    if folder.resumes and has_nothing_to_do(experiment, folder):
        return load_result(folder)
    describe(experiment, job.photo)
    if job.cfg.hole_kind != "auto" and job.photo.has_hole:
        depth = hole_depth(experiment.data.sample.mask)
        said = f"The hole is up to {depth:.0f} pixels deep" if depth > 0 else "Each channel lacks other pixels"
        log.info("%s: hole_kind=%s.", said, job.cfg.hole_kind)
    warn_of_uncovered(experiment)
    with folder.begin(to_yaml(experiment.cfg)):
        if job.guide is not None and guide is None:
            guide = find_colours(job, job.guide, folder, build)
            experiment = build(job.cfg, job.photo, folder, guide, job.is_member)
    return fit(experiment, folder)


def fit(experiment: Experiment, folder: RunFolder) -> Result:
    """Train until the run ends, and report how."""
    prior, data, trainer, callbacks, cfg, _, completed_steps = experiment
    interruption = find_callback(callbacks, Interruption)
    if completed_steps is not None:
        log.info("The run resumes after step %d of %d.", completed_steps, trainer.max_steps)
    checkpoint = folder.checkpoint if completed_steps else None
    try:
        trainer.fit(prior, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    finally:
        interruption.restore()
    result: Result = find_callback(callbacks, Results).result
    log.info(summary_table(result))
    if (reason := find_callback(callbacks, DivergenceGuard).diverged) is not None:
        raise UserError(f"{reason}; the results are of the last good weights; lower optimizer.lr={cfg.optimizer.lr}")
    if interruption.received is not None:
        said = f"the results of {result.metrics['steps']} steps are saved; {how_to_resume(cfg, folder)}"
        raise Interrupted(interruption.received, said)
    return result


def has_nothing_to_do(experiment: Experiment, folder: RunFolder) -> bool:
    """Whether the run in `folder` is complete; its result then goes to output.path too, if it is not there yet.

    Raises UserError for a run that cannot resume.
    """
    _, _, trainer, _, cfg, writer, steps = experiment
    assert steps is not None
    before = folder.metrics
    rule = before.get("stopped_by", "max_steps")
    if rule == "diverged":
        raise UserError(f"the run in {folder} diverged; start a new one with a lower optimizer.lr={cfg.optimizer.lr}")
    if steps >= trainer.max_steps and not before:
        raise UserError(
            f"trainer.max_steps={trainer.max_steps}, but the run in {folder} has done {steps} steps; a larger one "
            "continues it"
        )
    if steps < trainer.max_steps and rule in ("max_steps", "interrupt"):
        writer.check_file()
        return False
    more = "a larger trainer.max_steps continues it" if rule == "max_steps" else f"{rule} has stopped it"
    log.info("The run in %s is complete after %d steps; %s.", folder, steps, more)
    copy_result(cfg, writer)
    return True


def copy_result(cfg: DictConfig, writer: ResultWriter) -> None:
    """Write the result of a complete run to output.path, where it is missing or may be overwritten."""
    file, folder = writer.output_file, writer.folder
    if file.wanted is not None and (not file.wanted.exists() or (file.overwrite and not same_config(folder, cfg))):
        picture = load_result(folder).picture
        assert picture is not None
        file.check(picture)
        log.info("%s", writer.write_file(picture))


def find_colours(job: Job, runs: Job, folder: RunFolder, build: Build) -> Guide:
    """Run the short runs that guide a job, in `folder`/fill, where a resumed run finds them."""
    steps = runs.cfg.trainer.max_steps
    log.info("First the colours of large holes: %d runs of %d steps on the reduced picture.", len(runs.children), steps)
    within = folder / runs.name
    try:
        with only_warnings():
            found = run(runs, within, build=build)
    except UserError as error:
        raise UserError(f"fill, on the reduced picture: {error}; fill=none does without it") from error
    except KeyboardInterrupt as interrupt:
        keep_colours(job, folder, load_result(within))
        said = "the colours of large holes are not found yet, and the picture that is saved has only these so far"
        raise interrupted(interrupt, said, job.cfg, folder) from None
    outputs = found.outputs if found.outputs is not None else load_outputs(runs, within)
    target, mask, _ = job.photo.work
    penalty = instantiate_group(job.cfg, "fill").guide(target, known_in_all(mask), outputs)
    describe_trust(penalty)
    return Guide(penalty, found.metrics["seconds"])


def keep_colours(job: Job, folder: RunFolder, so_far: Result) -> None:
    """After Ctrl-C the colours are the result, unless the run itself has one already."""
    if so_far.picture is not None and not (folder.path / "output.png").exists():
        build_writer(job.cfg, job.photo, folder).write_file(so_far.picture)
        folder.write_metrics({**so_far.metrics, "stopped_by": "interrupt"})


def load_outputs(job: Job, folder: RunFolder) -> Tensor:
    """The outputs of a complete ensemble, (N, C, h, w)."""
    outputs = [load_result(folder / child.name).outputs for child in job.children]
    return torch.cat([output for output in outputs if output is not None])


@contextmanager
def only_warnings() -> Iterator[None]:
    """Silence what the package logs below a warning, but for which run it is at."""
    logger = logging.getLogger("dip")
    before, own = logger.level, members_log.level
    members_log.setLevel(members_log.getEffectiveLevel())
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        members_log.setLevel(own)


def interrupted(interrupt: KeyboardInterrupt, said: str, cfg: DictConfig, folder: RunFolder) -> Interrupted:
    """What ends several runs, wherever the signal has come."""
    return Interrupted(getattr(interrupt, "received", signal.SIGINT), f"{said}; {how_to_resume(cfg, folder)}")


def how_to_resume(cfg: DictConfig, folder: RunFolder) -> str:
    """The keys that resume a run, also where its results so far are at output.path."""
    over = " output.overwrite=true" if cfg.output.path is not None and not cfg.output.overwrite else ""
    return f"the run goes on with {quote(f'resume={folder}')}{over}"


def find_callback(callbacks: list[Any], kind: type[Any]) -> Any:
    (callback,) = [callback for callback in callbacks if isinstance(callback, kind)]
    return callback
