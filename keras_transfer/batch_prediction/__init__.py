"""Predictions for any number of rows: read, predicted and written in parts, and resumed after an interruption."""

from keras_transfer.batch_prediction.answer_file import AnswerFile
from keras_transfer.batch_prediction.engine import ENGINES
from keras_transfer.batch_prediction.predict import predict_to_file
from keras_transfer.batch_prediction.worker import LocalEngine, Settings, Worker, choose_columns

__all__ = [
    "ENGINES",
    "AnswerFile",
    "LocalEngine",
    "Settings",
    "Worker",
    "choose_columns",
    "predict_to_file",
]
