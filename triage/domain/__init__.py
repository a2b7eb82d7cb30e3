"""Vocabulary: ids, states and values that packages exchange. It imports no SQL, no torch and no imaging library."""
