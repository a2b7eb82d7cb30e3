"""Pure functions from arrays to numbers. All except `auc` need only numpy, so that reports start fast."""
