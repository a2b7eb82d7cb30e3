"""How the starter model was made. `python -m recipes.starter --help` says what it needs."""
