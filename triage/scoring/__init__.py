"""Scoring: the drain of the inbox (claim, prepare, score, record, decide) and rescoring runs."""
