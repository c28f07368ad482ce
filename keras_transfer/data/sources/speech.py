"""Transcribed recordings, as a kind of examples."""

from keras_transfer.config.data import AudioDataConfig
from keras_transfer.data.sources.recordings import AudioKind
from keras_transfer.data.tables.tables import TABLE_SUFFIXES


class SpeechKind(AudioKind):
    """Recordings whose labels are what is said in them: folders of classes have no transcripts."""

    name = "speech"

    def explain_folder(self, name: str, config: AudioDataConfig) -> str:
        return (
            f"Data source {name} is a folder of recordings without transcripts. Expected a table "
            f"({', '.join(TABLE_SUFFIXES)}) with the columns {config.path} and {', '.join(config.label_columns)}, a "
            "folder with metadata.csv, or one as Common Voice or LibriSpeech have it (docs/recordings.md)."
        )
