"""Problems of the data, found before training: broken, odd and repeated examples, and labels that look wrong."""

from keras_transfer.data.checks.findings import KINDS, Finding, count_kinds, sort_findings, to_frame, write_findings

__all__ = ["KINDS", "Finding", "count_kinds", "sort_findings", "to_frame", "write_findings"]
