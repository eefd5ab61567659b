"""Pose networks: learn a few key points from a few labelled pictures, and find them in videos."""

from multipose.pose2d.augmentation import Augmentation, choose_augmentation
from multipose.pose2d.crossvalidation import choose_folds, cross_validate
from multipose.pose2d.dataset import PoseDataset, choose_scale, dataset_from_labels, join_datasets
from multipose.pose2d.engines import RUNTIMES, create_engine
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations
from multipose.pose2d.export import export_onnx
from multipose.pose2d.following import Tracker
from multipose.pose2d.model import PoseCalibration, PoseEstimate, PoseModel
from multipose.pose2d.prediction import predict, predict_to_file
from multipose.pose2d.recipe import Budget, TrainingSettings
from multipose.pose2d.reports import ViewReport
from multipose.pose2d.training import TrainingResult, train

__all__ = [
    "RUNTIMES",
    "Augmentation",
    "Budget",
    "Evaluation",
    "PoseCalibration",
    "PoseDataset",
    "PoseEstimate",
    "PoseModel",
    "Tracker",
    "TrainingResult",
    "TrainingSettings",
    "ViewReport",
    "choose_augmentation",
    "choose_folds",
    "choose_scale",
    "create_engine",
    "cross_validate",
    "dataset_from_labels",
    "evaluate",
    "export_onnx",
    "join_datasets",
    "join_evaluations",
    "predict",
    "predict_to_file",
    "train",
]
