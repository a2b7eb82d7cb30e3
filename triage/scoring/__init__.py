"""The drain: claim, prepare, score, record, decide; and rescoring in between."""
