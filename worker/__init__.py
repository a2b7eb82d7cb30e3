"""How the product runs: Celery, settings, logging, the command line and the embedded services."""
