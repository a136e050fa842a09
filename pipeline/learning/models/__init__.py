"""Models: architectures and their files."""
