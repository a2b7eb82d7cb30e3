"""The vocabulary: ids, states and the values that pass between the rooms. It imports no SQL and no torch."""
