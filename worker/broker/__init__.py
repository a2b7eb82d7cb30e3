"""Redis as Celery's broker: guard, signing, results, wake-ups, beat, liveness."""
