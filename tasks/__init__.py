"""When things happen: Celery lives here and nowhere else."""
