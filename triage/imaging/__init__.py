"""Bytes of a photo to upright RGB: formats, limits, decoding; and the photos that the project draws itself."""
