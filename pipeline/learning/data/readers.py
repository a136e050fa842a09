"""Which reader a data set's folder needs, found by what lies in it."""

from pathlib import Path

from pipeline.errors import Misconfigured
from pipeline.learning.data.description import Description
from pipeline.learning.data.faults import Faults
from pipeline.learning.data.folders import LAYOUTS, has_class_folders, list_class_folders, list_labelled
from pipeline.learning.data.sample_files import SampleFiles
from pipeline.learning.data.table import find_tables, read_table


def list_samples(folder: Path, description: Description, faults: Faults) -> SampleFiles:
    """Names, labels and groups of a data set; what is wrong with them is told. Raises Misconfigured: nothing that is read here, or more than one thing."""
    if not folder.is_dir():
        raise Misconfigured(f"data set {folder.name!r}: no folder {folder}; it should hold {LAYOUTS}")
    tables = find_tables(folder)
    labelled = (folder / "images").is_dir() or (folder / "labels.json").exists()
    if labelled or not (tables or has_class_folders(folder)):
        return list_labelled(folder, description, faults)
    if not tables:
        return list_class_folders(folder, description, faults)
    if len(tables) > 1:
        raise Misconfigured(
            f"{folder} holds {len(tables)} tables ({tables[0].name}, {tables[1].name}, ..); keep the one to learn from"
        )
    return read_table(folder, tables[0], description, faults)
