"""Data sets: files, formats, samples."""
