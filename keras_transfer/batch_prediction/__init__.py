"""Predictions for any number of rows: read, predicted and written in parts, and resumed after an interruption."""

from keras_transfer.batch_prediction.answer_file import AnswerFile
from keras_transfer.batch_prediction.engine import ENGINES
from keras_transfer.batch_prediction.predict import Summary, predict_to_file
from keras_transfer.batch_prediction.worker import Engine, LocalEngine, Settings, Worker, choose_columns

__all__ = [
    "ENGINES",
    "AnswerFile",
    "Engine",
    "LocalEngine",
    "Settings",
    "Summary",
    "Worker",
    "choose_columns",
    "predict_to_file",
]
