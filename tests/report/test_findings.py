from types import SimpleNamespace

import pytest

from keras_transfer.data.checks.findings import Finding, write_findings
from keras_transfer.errors import CheckpointError
from keras_transfer.report.sections.findings import repeated_examples, suspicious_labels


def test_sections_on_findings(tmp_path):
    content = SimpleNamespace(run=SimpleNamespace(folder=tmp_path), runs=(), source=None)
    assert (suspicious_labels(content), repeated_examples(content)) == (None, None)
    findings = [Finding("suspicious_label", f"<i>{n}.png", "train", "cat", "why", 0.9, "dog") for n in range(53)]
    findings += [Finding("near_duplicate_in_splits", "a.png", "train", "cat", "nearly the same as b.png (test)")]
    write_findings(tmp_path / "findings.csv", findings)
    section = suspicious_labels(content)
    assert "&lt;i&gt;7.png" in section.body and "<i>" not in section.body
    assert "and 3 more in findings.csv" in section.body.replace('<data value="3">3</data>', "3")
    assert "nearly the same as b.png (test)" in repeated_examples(content).body
    other = SimpleNamespace(run=content.run, runs=(), source="elsewhere")
    assert suspicious_labels(other) is None  # a page on another source
    (tmp_path / "findings.csv").write_text("example\na\n")
    with pytest.raises(CheckpointError, match=r"findings.csv is damaged: .*no column 'split'"):
        suspicious_labels(content)
