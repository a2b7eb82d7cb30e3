"""From the bytes of a photo to upright RGB: formats, limits, decoding and colour."""
