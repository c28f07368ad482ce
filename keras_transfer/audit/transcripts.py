"""What looks wrong in transcribed recordings: in how they sound, and in whether transcripts belong to them."""

from pathlib import Path

from keras_transfer.audit.recordings import audit_recordings
from keras_transfer.audit.rows import Rows
from keras_transfer.audit.texts import find_other_scripts
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.recording_measures import RecordingMeasures, measure_recordings
from keras_transfer.data.checks.recordings import recordings_of
from keras_transfer.data.checks.scripts import find_script
from keras_transfer.data.checks.transcripts import find_odd_rates
from keras_transfer.data.splits.splits import Splits


def audit_transcripts(splits: Splits, *, memory: Path | None = None) -> list[Finding]:
    """Check recordings and their transcripts. The scan has measured each recording already.

    Args:
        memory: The folder of earlier results; by default the cache's.
    """
    rows, texts = Rows.of(splits), [str(text) for split in splits for text in split.targets]
    every = [one for split in splits for one in measure_recordings(recordings_of(split), memory=memory)]
    seconds = {row: one.seconds for row, one in enumerate(every) if isinstance(one, RecordingMeasures) and texts[row]}
    heard = list(seconds)
    odd = find_odd_rates([len(texts[row]) for row in heard], list(seconds.values()))
    findings = [
        rows.find(
            "odd_rate",
            heard[place],
            f"{one.rate:.1f} characters per second; most have about {one.usual:.1f}",
            1.0 - 1.0 / one.score,
        )
        for place, one in odd.items()
    ]
    findings += find_other_scripts(rows, list(map(find_script, texts)))
    return findings + audit_recordings(splits, memory=memory)
