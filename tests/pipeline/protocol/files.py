"""Bytes in a file, for tests of what reads them from there."""

from pathlib import Path

from pipeline.protocol.file_bytes import FileBytes


def in_file(data: bytes, folder: Path) -> FileBytes:
    path = folder / "bytes"
    path.write_bytes(data)
    return FileBytes.at(path)
