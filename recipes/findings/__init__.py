"""How the findings were fitted. `python -m recipes.findings --help` says what it needs."""
