"""Pure functions from arrays to numbers. All but `auc` need numpy alone, so that reports start fast."""
