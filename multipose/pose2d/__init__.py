"""Pose networks: learn a few key points from a few labelled pictures, and find them in videos."""

from multipose.pose2d.augmentation import Augmentation, choose_augmentation
from multipose.pose2d.comparison import Comparison, compare_evaluations
from multipose.pose2d.crossvalidation import Split, choose_folds, cross_validate, draw_pictures
from multipose.pose2d.dataset import PoseDataset, choose_scale, dataset_from_labels, join_datasets
from multipose.pose2d.engines import RUNTIMES, create_engine
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations
from multipose.pose2d.export import export_onnx
from multipose.pose2d.following import Tracker
from multipose.pose2d.model import PoseCalibration, PoseEstimate, PoseModel
from multipose.pose2d.pictures_seen import PicturesSeen, find_seen
from multipose.pose2d.prediction import predict, predict_to_file
from multipose.pose2d.recipe import RECIPE, Budget, TrainingSettings
from multipose.pose2d.repeats import describe_repeats, label_noise, relabel
from multipose.pose2d.reports import ViewReport
from multipose.pose2d.training import TrainingResult, train, train_on

__all__ = [
    "RECIPE",
    "RUNTIMES",
    "Augmentation",
    "Budget",
    "Comparison",
    "Evaluation",
    "PicturesSeen",
    "PoseCalibration",
    "PoseDataset",
    "PoseEstimate",
    "PoseModel",
    "Split",
    "Tracker",
    "TrainingResult",
    "TrainingSettings",
    "ViewReport",
    "choose_augmentation",
    "choose_folds",
    "choose_scale",
    "compare_evaluations",
    "create_engine",
    "cross_validate",
    "dataset_from_labels",
    "describe_repeats",
    "draw_pictures",
    "evaluate",
    "export_onnx",
    "find_seen",
    "join_datasets",
    "join_evaluations",
    "label_noise",
    "predict",
    "predict_to_file",
    "relabel",
    "train",
    "train_on",
]
