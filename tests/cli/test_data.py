import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.console import Exit
from cli.data import show_data
from cli.main import app
from pipeline.errors import Misconfigured


@pytest.fixture
def data(tmp_path):
    """Two data sets of eight images, the second one without a label for one of them."""
    for name in ("sound", "torn"):
        images = tmp_path / "data" / name / "images"
        images.mkdir(parents=True)
        for number in range(8):
            np.save(images / f"s{number}.npy", np.full((4, 4), number, dtype=np.uint8))
        labels = {f"s{number}": number % 2 for number in range(8 if name == "sound" else 7)}
        (images.parent / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "data" / "sound" / "dataset.toml").write_text('class_names = ["well", "ill"]\nvalidation_share = 0.5\n')
    groups = {f"s{number}": f"p{number // 2}" for number in range(8)}
    (tmp_path / "data" / "sound" / "groups.json").write_text(json.dumps(groups))
    return tmp_path / "data"


def invoke(tmp_path, *arguments):
    return CliRunner().invoke(app, ["data", *arguments, "--home", str(tmp_path / "home")], catch_exceptions=False)


def test_a_sound_data_set_is_counted(data, tmp_path):
    result = invoke(tmp_path, "check", "sound", "--data", str(data), "--json")
    assert result.exit_code == Exit.OK
    (found,) = json.loads(result.stdout)
    assert found["samples"] == 8
    assert found["held_back"] % 2 == 0
    assert found["groups"] == 4
    assert found["shape"] == [1, 4, 4]
    assert found["classes"] == {"well": 4, "ill": 4}


def test_what_is_wrong_is_told_with_the_file_and_the_rest_is_checked(data, tmp_path):
    result = invoke(tmp_path, "check", "--data", str(data), "--json")
    assert result.exit_code == Exit.FAILED
    sound, torn = json.loads(result.stdout)
    assert sound["faults"] == []
    assert torn["more_faults"] == 0
    (fault,) = torn["faults"]
    assert "labels.json has no label for 's7' (s7.npy); add it" in fault


def test_every_fault_is_listed_up_to_a_bound(data, tmp_path):
    (data / "torn" / "labels.json").write_text(json.dumps({f"ghost{number}": 0 for number in range(150)}))
    result = invoke(tmp_path, "check", "torn", "--data", str(data), "--json")
    (torn,) = json.loads(result.stdout)
    assert len(torn["faults"]) == 100
    assert torn["more_faults"] == 58  # and the eight images, none of which has a label
    shown = invoke(tmp_path, "check", "torn", "--data", str(data))
    assert shown.exit_code == Exit.FAILED
    assert "no file for the label 'ghost0'" in shown.stdout
    assert "and 58 more" in shown.stdout


def test_a_person_gets_a_table(data, tmp_path):
    result = invoke(tmp_path, "check", "--data", str(data))
    assert "sound" in result.stdout
    assert "wrong" in result.stdout


def test_the_identities_folders_are_looked_at_without_data(data, tmp_path):
    home = tmp_path / "home"
    assert CliRunner().invoke(app, ["init", "--home", str(home), "--miner", "ward-7"]).exit_code == Exit.OK
    with pytest.raises(Misconfigured, match="no data set"):
        invoke(tmp_path, "check")


def test_a_contact_sheet_is_written(data, tmp_path, capsys):
    show_data(tmp_path / "home", "sound", data, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "rows are: well, ill" in capsys.readouterr().err


def test_an_unknown_data_set_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(Misconfigured, match=r"no data set 'none' in .*; --data"):
        show_data(tmp_path / "home", "none", Path(tmp_path), tmp_path / "sheet.png")
