from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr

from multipose.errors import DataError, ModelError, VideoError
from multipose.pose2d import prediction, runtime
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import PoseNetwork
from multipose.pose2d.prediction import predict, predict_to_file
from multipose.pose2d.training import TrainingResult
from multipose.skeleton import Skeleton
from multipose.tracks import load_tracks

Make = Callable[..., PoseDataset]


class Pictures:
    """A FrameSource that makes its pictures when they are asked for, with frame numbers that begin at 1000."""

    path = Path("pictures")

    def __init__(
        self,
        count: int,
        make: Callable[[int], npt.NDArray[np.uint8]],
        fps: float | None = 50.0,
        times: npt.NDArray[np.float64] | None = None,
        broken_at: int | None = None,
    ) -> None:
        self._count, self._make, self.fps, self._broken_at = count, make, fps, broken_at
        height, width = make(0).shape[:2]
        self.size = (width, height)
        self.times = np.arange(count) / 50.0 if times is None else times
        self.frame_numbers = np.arange(count) + 1000

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        return self.read(range(self._count))

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for index in indices:
            if index == self._broken_at:
                return
            yield index, self._make(index)


@pytest.fixture(scope="module")
def moving(make_discs: Make) -> PoseDataset:
    """Discs that are elsewhere in every frame."""
    return make_discs(23, seed=600)


def errors(found: xr.Dataset, view: str, truth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    position = found["position"].sel(view=view).values[:, 0]
    return np.asarray(np.hypot(*np.moveaxis(position - truth, -1, 0)))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_point_lands_at_its_own_frame(trained: TrainingResult, moving: PoseDataset, batch_size: int) -> None:
    source = Pictures(23, moving.picture)
    found = predict({"top": trained.model}, {"top": source}, batch_size=batch_size, threads=1)
    assert np.median(errors(found, "top", moving.xy)) < 2.5
    assert np.median(errors(found, "top", np.roll(moving.xy, 1, axis=0))) > 10
    assert found["frame"].values.tolist() == [list(range(1000, 1023))]
    np.testing.assert_allclose(found["time"], np.arange(23) / 50)
    assert found.attrs["fps"] == 50
    single = trained.model.estimate_pictures([moving.picture(11)], threads=1)
    np.testing.assert_allclose(found["position"].values[0, 11, 0], single.position[0], atol=1e-2)
    np.testing.assert_allclose(found["confidence"].values[0, 11, 0], single.confidence[0], atol=1e-3)


def test_views_on_one_clock(trained: TrainingResult, moving: PoseDataset) -> None:
    """The side view began 3 frames later and missed one."""
    sources = {"top": Pictures(23, moving.picture), "side": Pictures(12, lambda i: moving.picture(2 * i))}
    side = np.array([-1, -1, -1, 0, 1, 2, -1, 3, 4, 7])
    models = {"top": trained.model, "side": trained.model, "unused": trained.model}
    frames = {"top": np.arange(5, 15), "side": side}
    found = predict(models, sources, frames=frames, batch_size=4, threads=1)
    assert found["view"].values.tolist() == ["top", "side"]
    assert np.median(errors(found, "top", moving.xy[5:15])) < 2.5
    there = side >= 0
    assert np.median(errors(found, "side", moving.xy[2 * side])[there]) < 2.5
    assert np.isnan(found["position"].sel(view="side").values[~there]).all()
    assert (found["confidence"].sel(view="side").values[~there] == 0).all()
    assert found["frame"].sel(view="side").values.tolist() == [-1, -1, -1, 1000, 1001, 1002, -1, 1003, 1004, 1007]


def test_the_file_holds_what_predict_returns(trained: TrainingResult, moving: PoseDataset, tmp_path: Path) -> None:
    frames = {"top": np.arange(10), "side": np.r_[-1, np.arange(2, 10), -1]}
    models = dict.fromkeys(frames, trained.model)
    sources = {view: Pictures(23, moving.picture) for view in frames}
    expected = predict(models, sources, frames=frames, batch_size=4, threads=1)
    path = tmp_path / "keypoints2d.nc"
    reports = predict_to_file(
        models, sources, path, frames=frames, batch_size=4, threads=1, attributes={"inputs": "abc"}
    )
    loaded = load_tracks(path)
    assert loaded.attrs.pop("inputs") == "abc"
    xr.testing.assert_identical(loaded, expected)
    assert {view: report.frames for view, report in reports.items()} == {"top": 10, "side": 8}
    assert all(report.fps > 0 and "torch" in report.runtime for report in reports.values())
    assert [place.name for place in tmp_path.iterdir()] == ["keypoints2d.nc"]


def test_long_videos_cross_chunks_of_the_file(tmp_path: Path) -> None:
    model = untrained()
    frames = {"a": np.r_[np.arange(300), -np.ones(250, int), np.arange(300, 320)]}
    sources = {"a": Pictures(320, lambda i: np.full((32, 32, 3), i % 256, np.uint8))}
    predict_to_file(
        {"a": model}, sources, tmp_path / "long.nc", frames=frames, batch_size=48, threads=1, runtime="torch"
    )
    expected = predict({"a": model}, sources, frames=frames, batch_size=48, threads=1, runtime="torch")
    xr.testing.assert_identical(load_tracks(tmp_path / "long.nc"), expected)


def untrained() -> PoseModel:
    network = PoseNetwork("efficientnet_lite0", 3, pretrained=False).eval()
    return PoseModel(network, "efficientnet_lite0", Skeleton(("red", "green", "blue")), 1.0)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """The pictures of 320 more frames (1 MB) leave no trace in the peak."""
    model = untrained()

    def peak(count: int) -> int:
        sources = {"a": Pictures(count, lambda i: np.full((32, 32, 3), i % 256, np.uint8))}
        tracemalloc.start()
        predict_to_file({"a": model}, sources, tmp_path / f"{count}.nc", batch_size=32, threads=1, runtime="torch")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(32)
    assert peak(480) - peak(160) < 150_000


def test_a_followed_animal_has_the_points_of_whole_pictures(trained: TrainingResult, make_discs: Make) -> None:
    """Discs that wander as one through a picture of five times the area of a crop."""
    discs = make_discs(1, seed=4)
    corners = np.stack([np.linspace(0, 250, 12), np.linspace(60, 200, 12)], -1).astype(int)
    xy = discs.xy[0] + corners[:, None]
    grey = np.random.default_rng(0).normal(110, 8, (288, 352, 3)).clip(0, 255).astype(np.uint8)

    def picture(index: int) -> npt.NDArray[np.uint8]:
        whole = grey.copy()
        (x, y), discs_picture = corners[index], discs.picture(0)
        whole[y : y + discs_picture.shape[0], x : x + discs_picture.shape[1]] = discs_picture
        return whole

    source = Pictures(12, picture)
    whole, followed = (
        predict({"top": trained.model}, {"top": source}, threads=1, follow=follow) for follow in (False, None)
    )
    assert (whole.attrs["followed"], followed.attrs["followed"]) == ("no view", "top")
    assert whole.attrs["runtime"] == f"torch {torch.__version__}, float32, cpu"
    seen = (whole["confidence"] > 0.5) & (followed["confidence"] > 0.5)
    assert float(seen.mean()) > 0.9
    moved = np.hypot(*np.moveaxis((whole["position"] - followed["position"]).values, -1, 0))
    assert np.median(moved[seen.values]) < 0.1
    assert np.median(errors(followed, "top", xy)) < 2.5


@pytest.mark.parametrize("runtime_name", ["auto", "torch-bfloat16"])
def test_a_view_without_any_picture(moving: PoseDataset, runtime_name: str) -> None:
    models = dict.fromkeys(("top", "side"), untrained())
    sources = {view: Pictures(2, moving.picture) for view in models}
    frames = {"top": [0, 1], "side": [-1, -1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction, "WORTH_MEASURING", 1)
        patch.setattr(prediction, "choose_runtime", lambda *_, **__: "torch")
        found = predict(models, sources, frames=frames, threads=1, runtime=runtime_name)
    assert np.isnan(found["position"].sel(view="side").values).all()
    assert np.isfinite(found["position"].sel(view="top").values).all()


def test_the_slowest_part_is_named(moving: PoseDataset, tmp_path: Path) -> None:
    """Each picture takes longer to come than all of them together took before, network and start included."""
    model = untrained()
    started = time.monotonic()
    predict({"a": model}, {"a": Pictures(3, moving.picture)}, threads=1)
    whole = time.monotonic() - started

    def slowly(index: int) -> npt.NDArray[np.uint8]:
        time.sleep(whole)
        return moving.picture(index)

    reports = predict_to_file({"a": model}, {"a": Pictures(3, slowly)}, tmp_path / "a.nc", threads=1)
    assert reports["a"].limited_by == "decoding"
    assert not reports["a"].followed


def test_uneven_clocks_go_by_timestamps(moving: PoseDataset) -> None:
    times = np.cumsum(np.linspace(0.01, 0.05, 4))
    found = predict({"a": untrained()}, {"a": Pictures(4, moving.picture, fps=None, times=times)}, threads=1)
    np.testing.assert_array_equal(found["time"], times)
    assert "fps" not in found.attrs


def test_what_does_not_go_together_is_told(moving: PoseDataset, tmp_path: Path) -> None:
    model = untrained()
    ten, eleven = Pictures(10, moving.picture), Pictures(11, moving.picture)
    with pytest.raises(DataError, match="no network for view side; there are networks for top"):
        predict({"top": model}, {"side": ten})
    with pytest.raises(DataError, match="top: 10, side: 11"):
        predict({"top": model, "side": model}, {"top": ten, "side": eleven})
    with pytest.raises(DataError, match="at least one view"):
        predict({"top": model}, {})
    for wrong in ([0, 2, 1], [0, 10], [-2, 1]):
        with pytest.raises(DataError, match="frames must rise"):
            predict({"top": model}, {"top": ten}, frames={"top": wrong})
    with pytest.raises(DataError, match="each view"):
        predict({"top": model, "side": model}, {"top": ten, "side": ten}, frames={"top": [0, 1]})
    with pytest.raises(DataError, match="one value a frame"):
        predict({"top": model}, {"top": ten}, time=[0.0, 1.0])
    with pytest.raises(DataError, match="batch_size"):
        predict({"top": model}, {"top": ten}, batch_size=0)
    network = PoseNetwork("efficientnet_lite0", 1, pretrained=False)
    other = PoseModel(network, "efficientnet_lite0", Skeleton(("nose",)), 1.0)
    with pytest.raises(ModelError, match="same key points"):
        predict({"top": model, "side": other}, {"top": ten, "side": ten})
    cut = Pictures(10, moving.picture, broken_at=6)
    with pytest.raises(VideoError, match="only 6 of 10 frames"):
        predict_to_file({"top": model}, {"top": cut}, tmp_path / "cut.nc", threads=1)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise VideoError("the disk is gone")

    got = []
    with pytest.raises(VideoError, match="the disk is gone"):
        for item in runtime.read_ahead(items()):
            got.append(item)  # noqa: PERF402 (what came before the error counts)
    assert got == [1, 2]


def test_reading_ahead_keeps_order_and_stops_early() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = runtime.read_ahead(items(), depth=3)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert len(made) <= 9


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    cpu = torch.device("cpu")
    with runtime.share_threads(3, cpu) as workers:
        assert workers.count == 3
        assert list(workers.map(lambda _: torch.get_num_threads(), range(5))) == [1] * 5
    assert torch.get_num_threads() == before
    with pytest.raises(ModelError, match="at least 1"), runtime.share_threads(0, cpu):
        pass


def test_workers_keep_order_and_hand_on_errors() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        if number == 11:
            raise VideoError("eleven")
        return number * number

    got: list[int] = []
    with runtime.share_threads(4, torch.device("cpu")) as workers:
        with pytest.raises(VideoError, match="eleven"):
            got.extend(workers.map(work, range(20)))
        assert list(workers.map(work, range(10))) == [n * n for n in range(10)]


def test_devices_that_are_not_there() -> None:
    with pytest.raises(ModelError, match="'tpu9'"):
        runtime.choose_device("tpu9")
