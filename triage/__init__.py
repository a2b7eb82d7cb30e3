"""What the product does: intake, scoring, verdicts, decisions, retakes, training and reports.

No Celery, no environment variables and no process state here: `worker` runs this package, never the other way.
"""
