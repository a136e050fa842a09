"""`flfleet data check` and `flfleet data show`: an operator's data sets, before a task meets them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from cli.console import ERR, OUT
from pipeline.errors import FleetError, Misconfigured
from pipeline.learning.data.contact_sheet import contact_sheet
from pipeline.learning.data.datasets import Dataset, every_fault, open_dataset
from pipeline.learning.data.description import read_description
from pipeline.settings import Settings, load
from pipeline.stores.keys import identities


def check_data(home: Path, name: str | None, folder: Path | None, *, as_json: bool) -> bool:
    """Reads every data set whole and prints what it holds or what is wrong. Returns whether all are sound."""
    settings = load(home)
    findings = [_finding(place, settings) for place in _places(settings, name, folder)]
    if as_json:
        OUT.print_json(json.dumps(findings))
    else:
        _print(findings)
    return not any(finding["faults"] for finding in findings)


def show_data(home: Path, name: str, folder: Path | None, output: Path) -> None:
    """Writes a data set's contact sheet. Raises Misconfigured for data that are wrong or no images."""
    settings = load(home)
    place = next(_places(settings, name, folder))
    dataset = _opened(place, settings)
    output.write_bytes(contact_sheet(dataset.everything))
    rows = ", ".join(_names(place, dataset))
    ERR.print(f"{output} written; its rows are: {rows}", soft_wrap=True)


def _places(settings: Settings, name: str | None, folder: Path | None) -> Iterator[Path]:
    """The data sets' folders: in `folder`, else of every identity. Raises Misconfigured where there is none."""
    above = [folder] if folder is not None else sorted({identity.data for identity in identities(settings)})
    found = [place for each in above for place in _sets(each) if name in (None, place.name)]
    if not found:
        where = ", ".join(str(each) for each in above) or "no identity of this home"
        raise Misconfigured(f"no data set{f' {name!r}' if name else ''} in {where}; --data FOLDER names another place")
    yield from found


def _sets(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _opened(place: Path, settings: Settings) -> Dataset:
    return open_dataset(
        place.parent, place.name, settings.cache, architecture=None, validation_share=settings.validation_share
    )


def _finding(place: Path, settings: Settings) -> dict[str, Any]:
    try:
        dataset = _opened(place, settings)
        names = _names(place, dataset)
    except Misconfigured as error:
        faults = every_fault(place)
        reasons = faults.reasons or [str(error)]  # of the cache, not of the data
        return {"dataset": place.name, "folder": str(place), "faults": reasons, "more_faults": faults.more}
    except FleetError as error:
        return {"dataset": place.name, "folder": str(place), "faults": [str(error)], "more_faults": 0}
    counts = [int(count) for count in np.unique(dataset.everything.y, return_counts=True)[1]]
    return {
        "dataset": place.name,
        "folder": str(place),
        "samples": len(dataset.everything),
        "held_back": len(dataset.held_back),
        "groups": dataset.groups,
        "shape": list(dataset.shape),
        "classes": dict(zip(names, counts, strict=True)),
        "digest": dataset.digest,
        "faults": [],
        "more_faults": 0,
    }


def _names(place: Path, dataset: Dataset) -> list[str]:
    """Of the classes that have samples, ascending."""
    known = read_description(place).class_names or []
    return [known[label] if label < len(known) else str(label) for label in np.unique(dataset.everything.y).tolist()]


def _print(findings: list[dict[str, Any]]) -> None:
    table = Table("data set", "samples", "held back", "groups", "shape", "classes")
    for finding in findings:
        if finding["faults"]:
            count = len(finding["faults"]) + finding["more_faults"]
            table.add_row(finding["dataset"], f"[red]{count} wrong[/]", "", "", "", "see below")
            continue
        classes = ", ".join(f"{name}: {count}" for name, count in finding["classes"].items())
        shape = " x ".join(map(str, finding["shape"]))
        groups = "-" if finding["groups"] is None else str(finding["groups"])
        table.add_row(
            finding["dataset"], str(finding["samples"]), str(finding["held_back"]), groups, shape, escape(classes)
        )
    OUT.print(table)
    for finding in findings:
        if not finding["faults"]:
            continue
        OUT.print(f"\n{finding['dataset']}:", markup=False)
        for reason in finding["faults"]:
            OUT.print(f"  - {reason}", soft_wrap=True, markup=False, highlight=False)
        if finding["more_faults"]:
            OUT.print(f"  and {finding['more_faults']} more", markup=False, highlight=False)
