"""Models, data and training; nothing here knows of Celery, HTTP or the ledger. torch is imported where it is used."""
