"""Files that are written whole or not at all, opened below a folder, and hashed."""
