"""The tasks: one file and one entry in ``TASKS`` for each."""

from keras_transfer.tasks.audio_classification import AudioClassificationTask
from keras_transfer.tasks.base import TASKS, Task, predict_examples
from keras_transfer.tasks.image_classification import ImageClassificationTask
from keras_transfer.tasks.records import Evaluation, FinishedRun, Given, TrainedModel
from keras_transfer.tasks.speech_to_text import SpeechToTextTask
from keras_transfer.tasks.targets import TargetTask
from keras_transfer.tasks.text_classification import TextClassificationTask, TextTask
from keras_transfer.tasks.text_pretraining import TextPretrainingTask

__all__ = [
    "TASKS",
    "AudioClassificationTask",
    "Evaluation",
    "FinishedRun",
    "Given",
    "ImageClassificationTask",
    "SpeechToTextTask",
    "TargetTask",
    "Task",
    "TextClassificationTask",
    "TextPretrainingTask",
    "TextTask",
    "TrainedModel",
    "predict_examples",
]

for _task in (
    AudioClassificationTask(),
    ImageClassificationTask(),
    SpeechToTextTask(),
    TextClassificationTask(),
    TextPretrainingTask(),
):
    TASKS.add(_task.name, _task)
