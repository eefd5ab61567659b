"""PoseModel: a trained network with all that is needed to use it, as a value and as a folder on disk.

The folder holds `weights.safetensors` and `model.toml`, which says everything else in plain words: backbone,
key points, skeleton, scale, calibration, how it was trained, and the weights' hash.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import toml
import torch
from torch import Tensor

from multipose.documents import read_toml
from multipose.errors import DataError, FormatError, ModelError
from multipose.files import SCHEMA_VERSION, atomic_path, check_schema, content_hash, write_text
from multipose.pose2d import runtime
from multipose.pose2d.backbones import INPUT_MULTIPLE
from multipose.pose2d.dataset import Picture, shrink
from multipose.pose2d.decoding import Weigh, decode
from multipose.pose2d.engines import Engine, TorchEngine
from multipose.pose2d.familiarity import Familiarity
from multipose.pose2d.looks import look_thoroughly
from multipose.pose2d.network import STRIDE, PoseNetwork
from multipose.pose2d.shape import ShapePrior
from multipose.skeleton import Skeleton
from multipose.sources import check_picture

Array = npt.NDArray[np.float64]

WEIGHTS_FILE = "weights.safetensors"
_NEW_WEIGHTS_FILE = "weights.new.safetensors"  # while a model is saved
MODEL_FILE = "model.toml"
_KIND = "pose_model"
_LEAST_SCALE = 0.01
_SHAPE = "shape_prior."  # begins the names of the prior's tensors in the file of weights
_FAMILIARITY = "familiarity."  # likewise
_UNSURE, _CERTAIN = 1.0, 6.0  # logits of confidences; below and above these errors hang little on them


@dataclass(frozen=True)
class PoseCalibration:
    """How the network's raw outputs become probabilities and covariances; fitted on held-out frames.

    The covariance of a point is `floor` of its key point times the unit matrix, plus `spread` times what the second
    moment of its heat map has beyond `blur`, all in px² of the original pictures; and the more, the less sure the
    network is that the point is in the picture at all: e^`doubt` times as much for each unit by which the logit of the
    confidence lies below 6 (a confidence of 0.9975), down to 1 (0.73).

    Attributes:
        presence_slope, presence_offset: confidence = sigmoid(slope * logit + offset), with an offset of each key point;
            one value stands for all.
        covariance_floor: of each key point; one value stands for all.
        covariance_spread: of the moment's excess.
        covariance_blur: variance that the map of a sure network has, from the blurred targets it learned.
        covariance_doubt: of the confidence's logit.
    """

    presence_slope: float = 1.0
    presence_offset: tuple[float, ...] = (0.0,)
    covariance_floor: tuple[float, ...] = (0.0,)
    covariance_spread: float = 1.0
    covariance_blur: float = 0.0
    covariance_doubt: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "presence_offset", tuple(self.presence_offset))
        object.__setattr__(self, "covariance_floor", tuple(self.covariance_floor))
        for name, value in asdict(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            least = -np.inf if name.startswith("presence") else 0.0
            if not numbers or not all(isinstance(one, int | float) and least <= one < np.inf for one in numbers):
                raise DataError(
                    f"{name} of a network must be finite numbers{' from 0 on' * (least == 0)}, got {value!r}."
                )

    def confidence(self, presence_logit: Array) -> Array:
        """Probability that a point is in the picture."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.confidence_logit(presence_logit).clip(-500, 500))))

    def confidence_logit(self, presence_logit: Array) -> Array:
        """log(p / (1 - p)) of the confidence p."""
        return np.asarray(self.presence_slope * presence_logit + np.array(self.presence_offset))

    def covariance(self, moment: Array, presence_logit: Array) -> Array:
        """Covariance (..., keypoint, 2, 2) px² of points.

        Args:
            moment: (..., keypoint, 2, 2) second moments of their heat maps.
            presence_logit: (..., keypoint).
        """
        floor = np.array(self.covariance_floor)[:, None, None] * np.eye(2)
        own = floor + self.covariance_spread * excess(moment, self.covariance_blur)
        return np.asarray(own * doubted(self.confidence_logit(presence_logit), self.covariance_doubt)[..., None, None])


def doubted(confidence_logit: Array, doubt: float) -> Array:
    """By how much covariances are multiplied for the logit of the confidence, as of `PoseCalibration`."""
    return np.asarray(np.exp(doubt * (_CERTAIN - confidence_logit.clip(_UNSURE, _CERTAIN))))


def excess(moment: Array, blur: float) -> Array:
    """What second moments (..., 2, 2) have beyond a blur, along each of their axes."""
    variances, axes = np.linalg.eigh(moment)
    return np.asarray(np.einsum("...ij,...j,...kj->...ik", axes, np.maximum(variances - blur, 0.0), axes))


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """Points found in n pictures, in the pictures' own pixels.

    Attributes:
        position: (n, keypoint, 2) px.
        confidence: (n, keypoint) probability that the point is in the picture.
        covariance: (n, keypoint, 2, 2) px².
        presence_logit: (n, keypoint) what the confidence was made of.
    """

    position: Array
    confidence: Array
    covariance: Array
    presence_logit: Array


@dataclass(frozen=True, eq=False)
class PoseModel:
    """A network that finds the key points of one animal in pictures like those it was trained on.

    Attributes:
        network: on the CPU, in evaluation mode; not to be changed.
        backbone: its name, as for `create_backbone`.
        skeleton: key points in the order of the network's maps.
        scale: pictures are shrunk by this before the network sees them.
        calibration: of its outputs.
        training: how it came about (seed, steps, hashes, held-out error, ...); plain values.
        shape: the prior that weighs the heat maps and draws unsure points, where there is one.
        familiarity: what the labelled pictures look like, where enough were labelled.
        thorough: look at every picture three times, moved and zoomed a little, and average the maps: better, at a third
            of the speed.
        mirror: find the points in the mirrored picture too and average the maps: better, at half the speed. Not saved.
    """

    network: PoseNetwork
    backbone: str
    skeleton: Skeleton
    scale: float
    calibration: PoseCalibration = PoseCalibration()
    training: Mapping[str, Any] = field(default_factory=dict)
    shape: ShapePrior | None = None
    familiarity: Familiarity | None = None
    thorough: bool = False
    mirror: bool = False

    def prepare(self, picture: Picture) -> Picture:
        """What the network gets for a picture: shrunk, and padded with black right and below to multiples of 32."""
        small, _ = shrink(picture, self.scale)
        height, width = small.shape[:2]
        down, right = -height % INPUT_MULTIPLE, -width % INPUT_MULTIPLE
        return np.pad(small, ((0, down), (0, right), (0, 0))) if down or right else np.ascontiguousarray(small)

    def prepared_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what `prepare` makes of a picture of the size (width, height)."""
        width, height = (length + -length % INPUT_MULTIPLE for length in self._shrunk_size(size))
        return height, width

    def _shrunk_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of a picture of the size (width, height) at the network's scale, as `shrink` makes it."""
        return max(1, round(size[0] * self.scale)), max(1, round(size[1] * self.scale))

    def on(self, device: torch.device) -> PoseNetwork:
        """The network ready for inference on a device: a copy, unless it is the CPU."""
        if device.type == "cpu":
            return self.network.eval()
        network = copy.deepcopy(self.network).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def estimate(
        self,
        prepared: npt.NDArray[np.uint8],
        size: tuple[int, int],
        engine: Engine,
        *,
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> PoseEstimate:
        """Find the points in a batch of prepared pictures.

        Args:
            prepared: (n, h, w, 3) what `prepare` gave for pictures of one size.
            size: (width, height) of the original pictures.
            engine: what runs the network.
            origin: of these pictures in those that the network was trained on, px, where they are parts of such.
        """
        small = self._shrunk_size(size)
        ratio = np.array(small) / np.array(size)
        cells_x, cells_y = (-(-length // STRIDE) for length in small)
        look = partial(look_thoroughly, engine) if self.thorough else engine
        with torch.inference_mode():
            logits = look(prepared)
            if self.mirror:
                mirrored = look(prepared[:, :, ::-1].copy()).flip(3)
                logits = (logits + mirrored[:, torch.from_numpy(self.skeleton.swap).to(logits.device)]) / 2
            points = decode(logits[:, :, :cells_y, :cells_x], self._weigh(ratio, origin))
        logit = points.presence_logit.cpu().numpy().astype(np.float64)
        covariance = points.covariance.cpu().numpy().astype(np.float64) / (ratio[:, None] * ratio[None, :])
        position = (points.position.cpu().numpy().astype(np.float64) + 0.5) / ratio - 0.5
        covariance = self.calibration.covariance(covariance, logit)
        if self.shape is not None:
            position, covariance = self.shape.combine(position + origin, covariance)
            position = (position - origin).clip(-0.5, np.array(size) - 0.5)  # where the maps say that it is: inside
        return PoseEstimate(position, self.calibration.confidence(logit), covariance, logit)

    def _weigh(self, ratio: Array, origin: tuple[float, float]) -> Weigh | None:
        """The prior of the shape, for maps of a crop at the network's scale."""
        prior = self.shape
        if prior is None:
            return None

        def weigh(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
            places = [(at + 0.5) / by - 0.5 + start for at, by, start in zip((x, y), ratio, origin, strict=True)]
            return prior.weigh(logits, *places)

        return weigh

    def estimate_picture(self, picture: Picture, network: PoseNetwork, device: torch.device) -> PoseEstimate:
        """Find the points in one picture (h, w, 3) by torch in float32; an estimate of n = 1.

        Args:
            picture: RGB uint8.
            network: what `on(device)` gave.
            device: the same device.
        """
        height, width = picture.shape[:2]
        return self.estimate(self.prepare(picture)[None], (width, height), TorchEngine(network, device))

    def estimate_pictures(
        self, pictures: Sequence[Picture], *, threads: int | None = None, device: str = "auto"
    ) -> PoseEstimate:
        """Find the points in pictures (RGB uint8 (h, w, 3), sizes may differ); an empty sequence gives empty arrays.

        Raises:
            DataError: a picture is not RGB uint8.
        """
        place = runtime.choose_device(device)
        network = self.on(place)
        for number, picture in enumerate(pictures):
            check_picture(picture, f"Picture {number}")
        with runtime.share_threads(threads, place) as workers:
            estimates = list(workers.map(lambda picture: self.estimate_picture(picture, network, place), pictures))
        n_keypoints = len(self.skeleton)
        empty = PoseEstimate(
            np.empty((0, n_keypoints, 2)),
            np.empty((0, n_keypoints)),
            np.empty((0, n_keypoints, 2, 2)),
            np.empty((0, n_keypoints)),
        )
        return PoseEstimate(
            *(
                np.concatenate([getattr(estimate, name) for estimate in [empty, *estimates]])
                for name in ("position", "confidence", "covariance", "presence_logit")
            )
        )

    def fingerprint(self) -> str:
        """Hash of the weights; another hash means another network."""
        return hashlib.sha256(safetensors.torch.save(self._weights())).hexdigest()

    def _weights(self) -> dict[str, Tensor]:
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        for prefix, part in ((_SHAPE, self.shape), (_FAMILIARITY, self.familiarity)):
            if part is not None:
                for name, value in asdict(part).items():
                    tensors[prefix + name] = torch.as_tensor(value, dtype=torch.float64)
        return tensors

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder; a model that was there stays whole until this one is.

        The weights lie beside the old ones until the description names them.
        """
        place = Path(folder)
        with atomic_path(place / _NEW_WEIGHTS_FILE) as temporary:
            temporary.write_bytes(safetensors.torch.save(self._weights()))
        content = {
            "schema_version": SCHEMA_VERSION,
            "kind": _KIND,
            "multipose": importlib.metadata.version("multipose"),
            "torch": str(torch.__version__),
            "backbone": self.backbone,
            "scale": float(self.scale),
            "thorough": self.thorough,
            "weights_sha256": content_hash(place / _NEW_WEIGHTS_FILE),
            "skeleton": {
                "keypoints": list(self.skeleton.keypoints),
                "edges": [list(edge) for edge in self.skeleton.edges],
                "pairs": [list(pair) for pair in self.skeleton.pairs],
                "definitions": dict(self.skeleton.definitions),
            },
            "calibration": asdict(self.calibration),
            "training": dict(self.training),
        }
        write_text(place / MODEL_FILE, toml.dumps(content))
        (place / _NEW_WEIGHTS_FILE).replace(place / WEIGHTS_FILE)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> PoseModel:
        """Read what `save` wrote.

        Raises:
            FormatError: a file is missing, damaged, of a newer schema, or the two do not belong together.
            ModelError: the backbone cannot be made here.
        """
        place = Path(folder)
        weights = place / WEIGHTS_FILE
        for name in (MODEL_FILE, WEIGHTS_FILE):
            if not (place / name).is_file() and (name == MODEL_FILE or not (place / _NEW_WEIGHTS_FILE).is_file()):
                raise FormatError(f"{place} holds no pose network: {name} is missing. Train it with `multipose train`.")
        try:
            content = read_toml(place / MODEL_FILE)
        except FormatError as error:
            raise FormatError(f"The network cannot be read: {error} Train it again.") from None
        check_schema(content.get("schema_version"), place / MODEL_FILE)
        if content.get("kind") != _KIND:
            raise FormatError(f"{place / MODEL_FILE} describes no pose network (kind is {content.get('kind')!r}).")
        stated, newer = content.get("weights_sha256"), place / _NEW_WEIGHTS_FILE
        if newer.is_file() and stated == content_hash(newer):  # saving was interrupted at its last step
            weights = newer
        elif stated != content_hash(weights):
            raise FormatError(
                f"{place / WEIGHTS_FILE} is damaged, or not the file that {MODEL_FILE} describes (its hash differs). "
                "Train the network again."
            )
        try:
            parts = content["skeleton"]
            skeleton = Skeleton(
                tuple(parts["keypoints"]),
                tuple((a, b) for a, b in parts["edges"]),
                tuple((a, b) for a, b in parts["pairs"]),
                parts["definitions"],
            )
            network = PoseNetwork(content["backbone"], len(skeleton), pretrained=False)
            tensors = safetensors.torch.load_file(weights)
            _check_weights(tensors)
            shape, familiarity = (
                {name.removeprefix(prefix): tensors.pop(name).numpy() for name in list(tensors) if prefix in name}
                for prefix in (_SHAPE, _FAMILIARITY)
            )
            network.load_state_dict(tensors)
            calibration = PoseCalibration(**content["calibration"])
            for name in ("presence_offset", "covariance_floor"):
                if len(getattr(calibration, name)) not in (1, len(skeleton)):
                    raise ValueError(f"{name} has not one value for each of the {len(skeleton)} key points")
            return cls(
                network=network.to(memory_format=torch.channels_last).eval(),  # type: ignore[call-overload]
                backbone=content["backbone"],
                skeleton=skeleton,
                scale=_read_scale(content["scale"]),
                thorough=bool(content.get("thorough", False)),
                calibration=calibration,
                shape=_read_shape(shape) if shape else None,
                familiarity=Familiarity(**familiarity) if familiarity else None,
                training=dict(content["training"]),
            )
        except ModelError as error:
            raise FormatError(f"{place / MODEL_FILE}: {error}") from error
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            DataError,
            RuntimeError,
            OSError,
            safetensors.SafetensorError,
        ) as error:
            raise FormatError(
                f"{place} was not written by this multipose, or was edited ({type(error).__name__}: {error}). "
                "Train the network again."
            ) from error


def _read_scale(value: float) -> float:
    if not _LEAST_SCALE <= value <= 1:
        raise ValueError(f"the scale {value} is not between {_LEAST_SCALE} and 1")
    return float(value)


def _check_weights(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the weights {name} are not finite")
    if not any(bool(tensor.any()) for tensor in tensors.values()):
        raise ValueError("all weights are 0")


def _read_shape(tensors: Mapping[str, Array]) -> ShapePrior:
    return ShapePrior(tensors["mean"], tensors["covariance"], float(tensors["area"]), float(tensors["pull"]))


def check_same_keypoints(models: Mapping[str, PoseModel]) -> tuple[str, ...]:
    """The key points that all models of a rig share, in their order.

    Raises:
        ModelError: there is no model, or two differ.
    """
    if not models:
        raise ModelError("At least one pose network is needed.")
    first_name, first = next(iter(models.items()))
    for name, model in models.items():
        if model.skeleton.keypoints != first.skeleton.keypoints:
            raise ModelError(
                f"The networks of a rig must find the same key points in the same order. {first_name}: "
                f"{', '.join(first.skeleton.keypoints)}; {name}: {', '.join(model.skeleton.keypoints)}. "
                "Train them again."
            )
    return first.skeleton.keypoints
