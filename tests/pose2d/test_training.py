from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from multipose.errors import DataError, ModelError
from multipose.pose2d.augmentation import Augmentation
from multipose.pose2d.batches import draw_times, split_held_out, split_times
from multipose.pose2d.checkpoints import CHECKPOINT_FILE, load_checkpoint
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import evaluate
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import STRIDE
from multipose.pose2d.recipe import Budget, TrainingSettings, find_inside, pose_loss
from multipose.pose2d.refinement import choose_material
from multipose.pose2d.training import METRICS_FILE, TrainingResult, train

Make = Callable[..., PoseDataset]
SMALL_CROPS = Augmentation(crop=64, zoom=0.1, blur=0.0)
TINY_BATCH = TrainingSettings(batch=2)


class StopAfter:
    """A progress that interrupts training after some steps, as Ctrl-C does."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def task(self, description: str, total: float | None = None) -> Any:
        return self

    def note(self, text: str) -> None:
        pass

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        if "step" in note:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


def weights(model: PoseModel) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same_weights(a: PoseModel, b: PoseModel) -> bool:
    return all(torch.equal(weights(a)[name], weights(b)[name]) for name in weights(a))


def test_a_few_seconds_of_training_find_the_discs(trained: TrainingResult, make_discs: Make) -> None:
    fresh = make_discs(12, seed=900, absent=0.3)
    estimate = trained.model.estimate_pictures([fresh.picture(i) for i in range(len(fresh))], threads=1)
    error = np.hypot(*np.moveaxis(estimate.position - fresh.xy, -1, 0))
    assert np.nanmedian(error) < 2.5
    assert estimate.confidence[fresh.present].min() > estimate.confidence[~fresh.present].max()
    assert trained.held_out.mean_px == pytest.approx(trained.model.training["held_out_mean_px"])


def test_confidences_are_worth_what_they_say(trained: TrainingResult, make_discs: Make) -> None:
    """On fresh pictures, with a half of the blue discs away; two pictures were held out from training."""
    judged = evaluate(trained.model, make_discs(100, seed=5000, absent=0.5), threads=1)
    assert judged.base_brier > 0.1
    assert judged.brier < 0.2 * judged.base_brier
    assert judged.calibration_error < 0.06


def test_history_and_model_are_written(make_discs: Make, tmp_path: Path) -> None:
    result = train(make_discs(4), tmp_path, steps=5, threads=1, augmentation=SMALL_CROPS, settings=TINY_BATCH)
    metrics = pd.read_csv(tmp_path / METRICS_FILE)
    assert list(metrics["step"]) == sorted(set(metrics["step"]))
    assert metrics["step"].iloc[-1] == 5
    assert np.isfinite(metrics.drop(columns=["held_out_mean_px", "held_out_median_px"]).to_numpy()).all()
    assert metrics["held_out_mean_px"].notna().tolist() == [False, False, True, True, True]
    assert len(metrics) == len(result.history)
    assert not (tmp_path / CHECKPOINT_FILE).exists()
    assert same_weights(PoseModel.load(tmp_path), result.model)


@pytest.mark.slow
def test_seeds_decide_everything(make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(4)
    before = torch.get_rng_state()
    a, b, c = (
        train(
            dataset,
            tmp_path / str(number),
            steps=3,
            seed=seed,
            threads=1,
            augmentation=SMALL_CROPS,
            settings=TINY_BATCH,
        ).model
        for number, seed in enumerate((7, 7, 8))
    )
    assert same_weights(a, b)
    assert not same_weights(a, c)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_as_if_undisturbed(make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(6)
    options: dict[str, Any] = {
        "steps": 7,
        "threads": 1,
        "augmentation": SMALL_CROPS,
        "settings": TINY_BATCH,
        "checkpoint_seconds": 0.0,
    }
    undisturbed = train(dataset, tmp_path / "a", **options)
    for stop in (3, 2):
        with pytest.raises(KeyboardInterrupt):
            train(dataset, tmp_path / "b", resume=True, progress=StopAfter(stop), **options)
        assert (tmp_path / "b" / CHECKPOINT_FILE).exists()
    resumed = train(dataset, tmp_path / "b", resume=True, **options)
    assert same_weights(undisturbed.model, resumed.model)
    columns = ["step", "learning_rate", "loss", "held_out_mean_px", "held_out_median_px"]
    pd.testing.assert_frame_equal(undisturbed.history[columns], resumed.history[columns])
    assert undisturbed.model.calibration == resumed.model.calibration


def test_a_checkpoint_that_does_not_fit_is_refused(make_discs: Make, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 9, "threads": 1, "augmentation": SMALL_CROPS, "settings": TINY_BATCH}
    with pytest.raises(KeyboardInterrupt):
        train(make_discs(4), tmp_path, checkpoint_seconds=0.0, progress=StopAfter(2), **options)
    with pytest.raises(ModelError, match="other labels, pictures or settings"):
        train(make_discs(5), tmp_path, resume=True, **options)
    checkpoint = tmp_path / CHECKPOINT_FILE
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged"):
        train(make_discs(4), tmp_path, resume=True, **options)


@pytest.fixture
def train_in_process(make_discs: Make, tmp_path: Path) -> Callable[..., list[str]]:
    """Gives the command that trains on discs into a folder, in a process of its own that can be killed."""
    if os.name == "nt":
        pytest.skip("Windows has no such signals")
    dataset = make_discs(12)
    np.savez(tmp_path / "discs.npz", pictures=np.stack(dataset.pictures), xy=dataset.xy)
    program = Path(__file__).with_name("train_discs.py")

    def command(folder: Path, checkpoint_seconds: float = 0.2) -> list[str]:
        return [sys.executable, str(program), str(tmp_path / "discs.npz"), str(folder), str(checkpoint_seconds)]

    return command


def wait_for(process: subprocess.Popen[bytes], path: Path, later_than: int = 0) -> None:
    """Wait until a file is there, and newer than that time (ns), or the process has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_mtime_ns > later_than:
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_minus_nine_twice(train_in_process: Callable[..., list[str]], tmp_path: Path) -> None:
    """Two kills in the middle, and the resumed training ends with the network of an undisturbed one."""
    folder, reference = tmp_path / "killed", tmp_path / "undisturbed"
    checkpoint = folder / CHECKPOINT_FILE
    for kill in (1, 2):
        process = subprocess.Popen(train_in_process(folder))
        wait_for(process, checkpoint, checkpoint.stat().st_mtime_ns if kill == 2 else 0)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(train_in_process(folder), check=True)
    subprocess.run(train_in_process(reference), check=True)
    assert same_weights(PoseModel.load(folder), PoseModel.load(reference))


@pytest.mark.slow
def test_ctrl_c_saves_the_step_under_way(train_in_process: Callable[..., list[str]], tmp_path: Path) -> None:
    """Long before a checkpoint is due."""
    folder = tmp_path / "interrupted"
    process = subprocess.Popen(train_in_process(folder, 1e9), stderr=subprocess.PIPE)
    wait_for(process, folder / "metrics.csv")
    assert not (folder / CHECKPOINT_FILE).exists()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in told
    state = load_checkpoint(folder / CHECKPOINT_FILE, None)
    assert 0 < state["step"] < 60


@pytest.mark.slow
def test_a_second_ctrl_c_acts_at_once() -> None:
    program = """
import signal
from multipose.pose2d.checkpoints import noting_interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)
with noting_interrupts() as noted:
    signal.raise_signal(signal.SIGINT)
    print(noted(), flush=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
with noting_interrupts() as noted:
    signal.raise_signal(signal.SIGINT)
    print(noted(), flush=True)
    signal.raise_signal(signal.SIGINT)
    print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]  # where it is ignored it stays so
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.slow
def test_budgets_end_training(make_discs: Make, tmp_path: Path) -> None:
    """A budget of 2 s of CPU time costs no more than itself and twice what a training of one step does."""

    def spend(name: str, **budget: float) -> tuple[float, TrainingResult]:
        started = time.process_time()
        options: dict[str, Any] = {"threads": 1, "augmentation": SMALL_CROPS, "settings": TINY_BATCH, **budget}
        result = train(make_discs(4), tmp_path / name, **options)
        return time.process_time() - started, result

    least, _ = spend("one step", steps=1)
    spent, result = spend("budget", cpu_minutes=2 / 60, steps=100_000)
    assert spent < 2 + 2 * least
    assert 0 < result.model.training["steps"] < 100_000
    assert Budget(steps=10, minutes=1.0).share(5, 6.0, 99.0) == 0.5
    assert Budget(steps=10, minutes=1.0).share(5, 45.0, 99.0) == 0.75
    for impossible in ({}, {"steps": 0}, {"minutes": -1.0}, {"cpu_minutes": float("nan")}):
        with pytest.raises(DataError, match="budget"):
            Budget(**impossible)


def test_reading_pictures_counts_as_time(make_discs: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk takes its second off the budget of one."""

    def slow(*arguments: Any) -> Any:
        time.sleep(1)
        return choose_material(*arguments)

    monkeypatch.setattr("multipose.pose2d.training.choose_material", slow)
    result = train(make_discs(4), tmp_path, minutes=1 / 60, threads=1, augmentation=SMALL_CROPS, settings=TINY_BATCH)
    assert result.model.training["steps"] == 1
    assert result.minutes > 1 / 60


def test_training_stops_when_the_held_out_error_no_longer_falls(make_discs: Make, tmp_path: Path) -> None:
    stuck = replace(TINY_BATCH, learning_rate=1e-12)
    result = train(make_discs(4), tmp_path, steps=20, threads=1, augmentation=SMALL_CROPS, settings=stuck)
    assert result.model.training["steps"] < 20
    assert result.history["held_out_mean_px"].notna().sum() == 4


def test_what_cannot_be_trained_is_told(make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(3)
    with pytest.raises(DataError, match="Only 1 labelled time"):
        train(dataset.subset([0]), tmp_path, steps=1)
    state = dataset.state.copy()
    state[:, 1] = "unlabelled"
    with pytest.raises(DataError, match="Nothing is labelled of green"):
        train(replace(dataset, state=state), tmp_path, steps=1)
    with pytest.raises(ModelError, match="no backbone 'alexnet'"):
        train(dataset, tmp_path, steps=1, backbone="alexnet")
    with pytest.raises(ModelError, match="cannot work on the device 'cuda:77'"):
        train(dataset, tmp_path, steps=1, device="cuda:77", augmentation=SMALL_CROPS)
    for options in ({"seed": -1}, {"seed": 2**63}, {"scale": 0.0}, {"scale": float("nan")}, {"steps": 2.5}):
        with pytest.raises(DataError, match="whole number|scale above 0"):
            train(make_discs(4), tmp_path, **{"steps": 1, **options})
    with pytest.raises(DataError, match="at least one crop"):
        TrainingSettings(batch=0)
    with pytest.raises(ModelError, match="threads is a whole number"):
        train(make_discs(4), tmp_path, steps=1, threads=1.5)
    with pytest.raises(ModelError, match="loss of step"):
        train(
            dataset,
            tmp_path,
            steps=20,
            threads=1,
            augmentation=SMALL_CROPS,
            settings=replace(TINY_BATCH, learning_rate=1e30),
        )


def test_held_out_pictures_are_apart_and_have_points(make_discs: Make) -> None:
    dataset = make_discs(30)
    state = dataset.state.copy()
    state[:10] = "absent"
    dataset = replace(dataset, state=state)
    fitted, held_out = split_held_out(dataset, 0.1, seed=0)
    assert len(held_out) == 2
    assert set(fitted.names) | set(held_out.names) == set(dataset.names)
    assert not set(fitted.names) & set(held_out.names)
    assert np.isfinite(held_out.xy).all(-1).any(1).all()
    assert split_held_out(dataset, 0.1, seed=0)[1].names == held_out.names


def test_times_are_held_out_with_their_neighbours_whatever_the_order() -> None:
    times = {("day1", 10 * place): 3 for place in range(40)} | {("day2", place): 3 for place in range(40)}
    drawn = draw_times(times, 0.1, 0)
    assert len(drawn) == 8
    assert draw_times(dict(reversed(times.items())), 0.1, 0) == drawn
    assert draw_times(times, 0.1, 1) != drawn
    close = sorted(moment for group, moment in drawn if group == "day2")
    assert not close or close[-1] - close[0] + 1 >= len(close)
    few = {("day1", 10 * place): 1 + place % 2 for place in range(20)}
    assert {few[time] for time in draw_times(few, 0.2, 3)} == {2}  # those that most views show come first
    assert len(draw_times({("a", 1): 1, ("a", 2): 1}, 0.9, 0)) == 1


def test_folds_keep_neighbours_together() -> None:
    times = [("day1", start + step) for start in range(0, 200, 20) for step in (0, 2, 4)]
    parts = split_times(times, 4, 0)
    assert sorted(time for part in parts for time in part) == sorted(times)
    for part in parts:
        for start in range(0, 200, 20):
            assert len({("day1", start), ("day1", start + 2), ("day1", start + 4)} & part) in (0, 3)
    assert max(map(len, parts)) - min(map(len, parts)) <= 3
    assert split_times(times[::-1], 4, 0) == parts
    with pytest.raises(DataError, match="10 stretches of neighbouring frames.*2 to 10 folds; got 11"):
        split_times(times, 11, 0)


def perfect_logits(xy: torch.Tensor, cells: int, settings: TrainingSettings) -> torch.Tensor:
    axis = (torch.arange(cells) + 0.5) * STRIDE - 0.5
    square = (axis[None, :] - xy[0]) ** 2 + (axis[:, None] - xy[1]) ** 2
    return (-square / (2 * settings.target_px**2))[None, None]


def test_loss_is_least_at_the_label() -> None:
    settings = TrainingSettings()
    known = torch.ones(1, 1, dtype=torch.bool)
    here = torch.tensor([30.0, 22.0])
    losses = [
        float(pose_loss(perfect_logits(here + shift, 16, settings), here[None, None], known, settings))
        for shift in (0.0, 3.0, 8.0)
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]


def test_losses_of_parts_add_up() -> None:
    settings = TrainingSettings()
    torch.manual_seed(0)
    logits = torch.randn(5, 2, 16, 16)
    points = torch.rand(5, 2, 2) * 90 - 13
    points[0, 0] = torch.nan
    known = torch.rand(5, 2) < 0.7
    counts = int(find_inside(points, 64).sum()), int(known.sum())
    parts = [
        pose_loss(logits[i], points[i], known[i], settings, counts) for i in (slice(0, 2), slice(2, 4), slice(4, 5))
    ]
    torch.testing.assert_close(sum(parts), pose_loss(logits, points, known, settings))


def test_loss_of_unknown_absent_and_outside_points() -> None:
    settings = TrainingSettings()
    flat = torch.zeros(1, 1, 16, 16, requires_grad=True)
    nowhere = torch.full((1, 1, 2), torch.nan)
    unknown, known = torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    assert pose_loss(flat, nowhere, unknown, settings).item() == 0
    absent = pose_loss(flat, nowhere, known, settings)
    outside = pose_loss(flat, torch.tensor([[[-20.0, 5.0]]]), known, settings)
    assert absent.item() == outside.item() > 0
    absent.backward()
    assert flat.grad is not None
    assert (flat.grad > 0).all()  # descending lowers every logit


def test_a_point_that_is_occluded_at_an_unknown_place_teaches_nothing(make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(4)
    xy, state = dataset.xy.copy(), dataset.state.copy()
    xy[:, 2], state[:, 2] = np.nan, "occluded"
    options: dict[str, Any] = {"steps": 2, "threads": 1, "augmentation": SMALL_CROPS, "settings": TINY_BATCH}
    hidden = train(replace(dataset, xy=xy, state=state), tmp_path / "a", **options)
    start = train(replace(dataset, xy=xy, state=state), tmp_path / "b", **(options | {"steps": 1}))
    bias = "output.bias"
    assert weights(hidden.model)[bias][2] == weights(start.model)[bias][2] == -4
    assert weights(hidden.model)[bias][0] != weights(start.model)[bias][0]


def test_training_can_begin_with_another_network(trained: TrainingResult, make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(4, seed=70)
    still = replace(TINY_BATCH, learning_rate=1e-9)
    options: dict[str, Any] = {"steps": 1, "threads": 1, "augmentation": SMALL_CROPS, "settings": still}
    begun = train(dataset, tmp_path / "a", start=trained.model, **options)
    assert begun.held_out.median_px < 2.5
    assert train(dataset, tmp_path / "b", **options).held_out.median_px > 5
