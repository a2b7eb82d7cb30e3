"""Files: atomic writes, opening below a folder, hashes."""
