"""Files: atomic writes, permissions, opening below a folder, hashes."""
