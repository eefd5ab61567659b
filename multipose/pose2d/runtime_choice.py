"""Which runtime serves a network best on this machine: measured once, and kept in the user's cache folder.

A runtime is taken if it is the fastest of those that leave the key points where torch in float32 finds them: by less
than 0.1 px of the original pictures in the median, over pictures of the video at hand.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from multipose.documents import read_json
from multipose.errors import FormatError, ModelError
from multipose.files import hash_value, write_text
from multipose.pose2d.engines import REFERENCE, Engine, create_engine, installed_runtimes
from multipose.pose2d.model import PoseEstimate, PoseModel

Pictures = npt.NDArray[np.uint8]

MAX_MOVED_PX = 0.1
SAMPLES = 8
"""Pictures that runtimes are compared on."""
WORTH_MEASURING = 200
"""Pictures from which a measurement of some seconds pays."""
WORTH_COMPILING = 20_000
"""Pictures from which half a minute of compilation for each size of pictures pays."""

_REPEATS = 3  # of the timed calls, the fastest of which counts
_SEEN = 0.5  # confidence from which a point counts for how far points move
_CACHE_FILE = "runtimes.json"


@dataclass(frozen=True)
class Measurement:
    """How one runtime did.

    Attributes:
        seconds: CPU seconds a picture (wall seconds on a GPU).
        moved_px: median distance of its points from the reference's, px of the original pictures; infinite where
            bfloat16 cannot be judged since the reference sees no point.
    """

    seconds: float
    moved_px: float


def choose_runtime(
    model: PoseModel,
    samples: Sequence[Pictures],
    device: torch.device,
    *,
    threads: int,
    streams: int,
    expected: int,
    cache: Path | None = None,
) -> str:
    """The fastest runtime that is exact enough.

    Args:
        model: the network.
        samples: pictures (or crops) of one size as they will come, RGB uint8.
        device: where it runs.
        threads, streams: as for `create_engine`.
        expected: pictures that are to be looked at in all.
        cache: file of earlier measurements; by default in the user's cache folder.
    """
    place = cache or Path(platformdirs.user_cache_dir("multipose", appauthor=False)) / _CACHE_FILE
    names = [
        name
        for name in installed_runtimes(device)
        if expected >= WORTH_COMPILING or not name.startswith("torch-compiled")
    ]
    looks = [model.mirror, model.thorough]
    key = hash_value([_machine(), names, _versions(), model.fingerprint(), looks, samples[0].shape[:2]])
    key += f"-{device.type}-{threads}-{streams}"
    known = _read(place)
    if key not in known:
        known[key] = measure_runtimes(model, samples, device, names, threads=threads, streams=streams)
        if all(np.isfinite(one.moved_px) for one in known[key].values()):
            _write(place, known)
    return fastest(known[key])


def fastest(measured: dict[str, Measurement]) -> str:
    """The fastest runtime among those that move the points by less than 0.1 px; the reference moves none."""
    exact = {name: one.seconds for name, one in measured.items() if one.moved_px < MAX_MOVED_PX}
    return min(exact, key=exact.__getitem__)


def measure_runtimes(
    model: PoseModel,
    samples: Sequence[Pictures],
    device: torch.device,
    names: Sequence[str],
    *,
    threads: int = 1,
    streams: int = 1,
) -> dict[str, Measurement]:
    """Time each runtime and compare its points with the reference's; what this machine cannot run is left out."""
    network = model.on(device)
    prepared = [model.prepare(picture)[None] for picture in samples]
    measured: dict[str, Measurement] = {}
    reference: list[PoseEstimate] = []
    for name in [REFERENCE, *(name for name in names if name != REFERENCE)]:
        try:
            engine = create_engine(name, network, device, threads=threads, streams=streams, samples=prepared)
            found = _estimates(model, samples, engine)
        except ModelError:  # a CPU without bfloat16, or an operation that the runtime does not know
            if name == REFERENCE:
                raise
            continue
        if name == REFERENCE:
            reference = found
        moved = _moved(found, reference) if _any_seen(reference) or engine.precision == "float32" else np.inf
        measured[name] = Measurement(_seconds(prepared, engine), moved)
    return measured


def _estimates(model: PoseModel, samples: Sequence[Pictures], engine: Engine) -> list[PoseEstimate]:
    return [
        model.estimate(model.prepare(picture)[None], (picture.shape[1], picture.shape[0]), engine)
        for picture in samples
    ]


def _seconds(prepared: Sequence[Pictures], engine: Engine) -> float:
    """Seconds a picture: of CPU time one by one, as a CPU will get them, of wall time together on other devices."""
    clock, batches = time.process_time, list(prepared[:_REPEATS])
    if engine.device.type != "cpu":
        clock, batches = time.perf_counter, [np.concatenate(prepared)] * _REPEATS
    best = np.inf
    for batch in batches:
        started = clock()
        engine(batch).cpu()
        best = min(best, (clock() - started) / len(batch))
    return float(best)


def _any_seen(estimates: Sequence[PoseEstimate]) -> bool:
    return any((one.confidence >= _SEEN).any() for one in estimates)


def _moved(found: Sequence[PoseEstimate], reference: Sequence[PoseEstimate]) -> float:
    """Median distance of the points that the reference sees; of all points where it sees none."""
    position = np.concatenate([one.position for one in found])
    expected = np.concatenate([one.position for one in reference])
    distance = np.hypot(*np.moveaxis(position - expected, -1, 0))
    seen = np.concatenate([one.confidence for one in reference]) >= _SEEN
    return float(np.median(distance[seen] if seen.any() else distance))


def _machine() -> list[str | int | None]:
    """What the speed of this computer hangs on, as far as it tells."""
    model = platform.processor()
    with contextlib.suppress(OSError):  # there on Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line for line in lines if line.startswith("model name")), model)
    return [
        platform.machine(),
        model,
        os.cpu_count(),
        torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    ]


def _versions() -> list[str]:
    """Versions of what may run networks."""
    versions = []
    for package in ("torch", "openvino", "onnxruntime", "multipose"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _read(place: Path) -> dict[str, dict[str, Measurement]]:
    """Earlier measurements; none where the file is absent, damaged, or was written by another version."""
    try:
        known = {
            key: {name: Measurement(**one) for name, one in measured.items()}
            for key, measured in read_json(place).items()
        }
    except (FormatError, TypeError, AttributeError):
        return {}
    values = [value for each in known.values() for one in each.values() for value in (one.seconds, one.moved_px)]
    whole = all(REFERENCE in measured for measured in known.values())
    return known if whole and all(isinstance(value, float) and value >= 0 for value in values) else {}


def _write(place: Path, known: dict[str, dict[str, Measurement]]) -> None:
    """Keep the measurements where that is possible; else the next process measures anew."""
    content = {key: {name: vars(one) for name, one in measured.items()} for key, measured in known.items()}
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(content, indent=1))
