"""What a round does: no Celery, no HTTP server, no environment reads outside settings.py."""
