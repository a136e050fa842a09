"""Data as machines write them: images, DICOM and tables, in the layouts that hospitals have."""

import builtins
import json
import re

import numpy as np
import pytest

from pipeline.errors import Misconfigured
from pipeline.learning.data.datasets import every_fault, held_back, open_dataset
from pipeline.protocol.task import Architecture

Image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pa = pytest.importorskip("pyarrow", reason="the extra tables is not installed")

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "data" / "ward"
    made.mkdir(parents=True)
    return made


def opened(folder, values=12, *, classes=3, share=0.0):
    linear = Architecture(name="linear", kwargs={"in_features": values, "num_classes": classes})
    cache = folder.parent.parent / "cache"
    return open_dataset(folder.parent, folder.name, cache, architecture=linear, validation_share=share)


def describe(folder, text):
    (folder / "dataset.toml").write_text(text)


def picture(path, array=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def dicom(path, array=None, patient="", **elements):
    """A file as a scanner writes it, 16 bits of which 12 are used unless `elements` say otherwise."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    array = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100 if array is None else array
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    bits = 8 * array.dtype.itemsize
    members = {
        "PatientID": patient,
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": array.shape[-2],
        "Columns": array.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": 12 if bits == 16 else bits,
        "PixelRepresentation": int(array.dtype.kind == "i"),
        **elements,
    }
    members["HighBit"] = members["BitsStored"] - 1
    for name, value in members.items():
        setattr(made, name, value)
    made.PixelData = array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)


def labels(folder, *classes):
    (folder / "labels.json").write_text(json.dumps({f"s{number}": label for number, label in enumerate(classes)}))


# Images


def test_images_with_labels_are_read_as_npy_is(folder):
    picture(folder / "images" / "s0.png")
    picture(folder / "images" / "s1.PNG", GREY[::-1])
    labels(folder, 2, 0)
    found = opened(folder)
    assert found.shape == (1, 3, 4)
    assert found.everything.y.tolist() == [2, 0]
    assert np.array_equal(found.everything.x[0, 0], GREY / np.float32(255))
    assert np.array_equal(found.everything.x[1, 0], GREY[::-1] / np.float32(255))


def test_colour_becomes_channels_first(folder):
    colour = np.stack([GREY, GREY // 2, GREY // 4], axis=-1)
    picture(folder / "images" / "s0.png", colour)
    labels(folder, 0)
    assert np.array_equal(opened(folder, 36).everything.x[0], np.moveaxis(colour, 2, 0) / np.float32(255))


def test_jpegs_of_several_sizes_are_scaled_to_one(folder):
    picture(folder / "images" / "s0.jpg", np.full((30, 40), 100, dtype=np.uint8), quality=95)
    picture(folder / "images" / "s1.jpeg", np.full((60, 20), 200, dtype=np.uint8), quality=95)
    labels(folder, 0, 1)
    with pytest.raises(Misconfigured, match=r"s1.jpeg has the shape \(60, 20\).*s0.jpg has \(30, 40\)"):
        opened(folder)
    describe(folder, "size = [3, 4]")
    x = opened(folder).everything.x
    assert x.shape == (2, 1, 3, 4)
    assert np.allclose(x[0], 100 / 255, atol=0.01)
    assert np.allclose(x[1], 200 / 255, atol=0.01)


def test_an_image_is_turned_as_the_camera_says(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    picture(folder / "images" / "s0.jpg", np.full((4, 3), 9, dtype=np.uint8), exif=exif)
    labels(folder, 0)
    assert opened(folder).shape == (1, 3, 4)


def test_sixteen_bits_keep_their_depth(folder):
    picture(folder / "images" / "s0.png", np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000)
    labels(folder, 0)
    x = opened(folder).everything.x
    assert np.allclose(x[0, 0], np.arange(12).reshape(3, 4) * 5000 / 65535)


def test_a_folder_for_every_class_is_numbered_by_dataset_toml_alone(folder):
    picture(folder / "pneumonia" / "a.png")
    picture(folder / "normal" / "a.png", GREY[::-1])
    with pytest.raises(Misconfigured, match=r"normal: its name is no class; .*class_names = \["):
        opened(folder)
    describe(folder, 'class_names = ["normal", "effusion", "pneumonia"]')
    assert opened(folder).everything.y.tolist() == [0, 2]
    describe(folder, 'class_names = ["normal", "effusion"]')
    with pytest.raises(Misconfigured, match="pneumonia: its name is no class"):
        opened(folder)


def test_class_folders_may_be_numbers(folder):
    picture(folder / "0" / "a.png")
    picture(folder / "2" / "a.png")
    assert opened(folder).everything.y.tolist() == [0, 2]
    with pytest.raises(Misconfigured, match=r"'2/a' is of class 2, but the task's model has the classes 0 to 1"):
        opened(folder, classes=2)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken", b"\xff\xd8\xff\xe0 broken"])
def test_an_image_that_is_none_is_named(folder, content):
    picture(folder / "images" / "s0.png")
    (folder / "images" / "s1.png").write_bytes(content)
    labels(folder, 0, 0)
    with pytest.raises(Misconfigured, match=r"s1.png is no readable PNG or JPEG image"):
        opened(folder)


def test_an_image_that_unpacks_to_more_than_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    picture(folder / "images" / "s0.png")
    labels(folder, 0)
    with pytest.raises(Misconfigured, match=r"s0.png is no readable .*exceeds limit"):
        opened(folder)


def test_two_files_of_one_name_are_told(folder):
    picture(folder / "images" / "s0.png")
    picture(folder / "images" / "s0.jpg")
    labels(folder, 0)
    with pytest.raises(Misconfigured, match=r"s0.jpg and s0.png have one name"):
        opened(folder)


@pytest.mark.parametrize(
    ("package", "extra", "make"),
    [
        ("PIL", "images", lambda folder: picture(folder / "0" / "a.png")),
        ("pydicom", "dicom", lambda folder: dicom(folder / "0" / "a.dcm")),
        ("pyarrow", "tables", lambda folder: (folder / "t.csv").write_text("label,v\n0,1\n")),
    ],
)
def test_without_its_package_a_format_names_the_extra(folder, monkeypatch, package, extra, make):
    make(folder)
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Misconfigured, match=rf"pip install 'flfleet\[{extra}\]'"):
        opened(folder)


def test_a_check_finds_every_fault_of_class_folders(folder):
    describe(folder, 'class_names = ["normal", "effusion"]')
    for number in range(3):
        picture(folder / "normal" / f"s{number}.png")
    picture(folder / "normal" / "s0.jpg", quality=95)
    picture(folder / "pneumonia" / "a.png")
    picture(folder / "effusion" / "wide.png", GREY[:2])
    (folder / "effusion" / "torn.png").write_bytes((folder / "normal" / "s1.png").read_bytes()[:40])
    (folder / "effusion" / "torn.jpeg.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    found = every_fault(folder).reasons
    expected = [
        r"normal/s0.jpg and normal/s0.png have one name; rename one of them",
        r"pneumonia: its name is no class; name all classes .* class_names = \[",
        r"effusion/torn.png is no readable PNG or JPEG image: .*; export it anew, or remove it",
        r"effusion/torn.jpeg.jpg is no readable PNG or JPEG image: .*; export it anew, or remove it",
        r"effusion/wide.png has the shape \(2, 4\) of uint8, but s0.png has \(3, 4\)",
    ]
    assert_told(found, expected)


def assert_told(found, expected):
    """Each expected reason once, in whatever order, and no other."""
    assert len(found) == len(expected), found
    for reason in expected:
        assert sum(bool(re.search(reason, text)) for text in found) == 1, (reason, found)


# Groups


def test_a_patients_samples_are_held_back_together(folder):
    for number in range(60):
        picture(folder / "images" / f"s{number}.png", np.full((3, 4), number, dtype=np.uint8))
    labels(folder, *[0] * 60)
    groups = {f"s{number}": f"patient {number // 6}" for number in range(60)}
    (folder / "groups.json").write_text(json.dumps(groups))
    found = opened(folder, share=0.5)
    names = sorted(groups)
    held = {groups[names[row]] for row in found.held_back.rows}
    learnt = {groups[names[row]] for row in found.training.rows}
    assert held
    assert learnt
    assert not held & learnt


def test_a_sample_without_a_group_is_told(folder):
    picture(folder / "images" / "s0.png")
    labels(folder, 0)
    (folder / "groups.json").write_text('{"s1": "a"}')
    with pytest.raises(Misconfigured, match=r"groups.json has no group \(a text\) for 's0'"):
        opened(folder)


def test_other_groups_are_another_data_set(folder):
    picture(folder / "images" / "s0.png")
    labels(folder, 0)
    before = opened(folder).digest
    (folder / "groups.json").write_text('{"s0": "a"}')
    assert opened(folder).digest != before


def test_a_check_names_every_sample_without_a_group(folder):
    for number in range(3):
        picture(folder / "images" / f"s{number}.png")
    labels(folder, 0, 1, 0)
    (folder / "groups.json").write_text('{"s1": "a", "s2": 7}')
    assert_told(every_fault(folder).reasons, [r"no group \(a text\) for 's0'; add it", r"no group .* for 's2'; add it"])


# DICOM


def test_a_scan_is_scaled_by_its_bits(folder):
    dicom(folder / "0" / "a.dcm")
    x = opened(folder).everything.x
    assert x.shape == (1, 1, 3, 4)
    assert np.allclose(x[0, 0], np.arange(12).reshape(3, 4) * 100 / 4095, atol=1e-6)


def test_monochrome1_is_turned_over(folder):
    dicom(folder / "0" / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(opened(folder).everything.x[0, 0], 1 - np.arange(12).reshape(3, 4) * 100 / 4095, atol=1e-6)


def expected_linear(values, centre, width):
    """C.11.2.1.2.1, word by word."""
    below, above = values <= centre - 0.5 - (width - 1) / 2, values > centre - 0.5 + (width - 1) / 2
    return np.where(below, 0, np.where(above, 1, (values - (centre - 0.5)) / (width - 1) + 0.5))


def test_the_files_window_counts_after_the_rescaling(folder):
    dicom(folder / "0" / "a.dcm", RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=[40, 9], WindowWidth=[400, 9])
    values = np.arange(12).reshape(3, 4) * 200.0 - 1000
    assert np.allclose(opened(folder).everything.x[0, 0], expected_linear(values, 40, 400), atol=1e-6)


def test_the_descriptions_window_wins(folder):
    dicom(folder / "0" / "a.dcm", WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID")
    describe(folder, "window = [600, 300]")
    values = np.arange(12).reshape(3, 4) * 100.0
    assert np.allclose(opened(folder).everything.x[0, 0], expected_linear(values, 600, 300), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("SIGMOID", lambda v: 1 / (1 + np.exp(-4 * (v - 500) / 200))),
        ("LINEAR_EXACT", lambda v: np.clip((v - 500) / 200 + 0.5, 0, 1)),
    ],
)
def test_the_other_window_functions(folder, function, expected):
    dicom(folder / "0" / "a.dcm", WindowCenter=500, WindowWidth=200, VOILUTFunction=function)
    values = np.arange(12).reshape(3, 4) * 100.0
    assert np.allclose(opened(folder).everything.x[0, 0], expected(values), atol=1e-6)


def test_signed_values_are_read(folder):
    dicom(folder / "0" / "a.dcm", np.arange(-6, 6, dtype=np.int16).reshape(3, 4) * 300)
    assert np.allclose(
        opened(folder).everything.x[0, 0], (np.arange(-6, 6).reshape(3, 4) * 300 + 2048) / 4095, atol=1e-6
    )


def test_colour_and_frames(folder):
    colour = np.stack([GREY, GREY // 2, GREY // 4], axis=-1)
    dicom(
        folder / "0" / "a.dcm",
        colour,
        Rows=3,
        Columns=4,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )
    assert np.allclose(opened(folder, 36).everything.x[0], np.moveaxis(colour, 2, 0) / 255, atol=1e-6)
    dicom(folder / "0" / "a.dcm", np.zeros((5, 3, 4), dtype=np.uint16), NumberOfFrames=5)
    assert opened(folder, 60).shape == (1, 5, 3, 4)
    describe(folder, "size = [3, 4]")
    with pytest.raises(Misconfigured, match="has 5 frames"):
        opened(folder, 60)


def test_scans_are_scaled_and_grouped_by_patient(folder):
    for number in range(24):
        dicom(
            folder / "0" / f"s{number:02}.dcm", np.full((6, 8), 10 * number, dtype=np.uint16), f"patient {number % 4}"
        )
    describe(folder, "size = [3, 4]")
    found = opened(folder, share=0.5)
    held = {int(row) % 4 for row in found.held_back.rows}
    assert len(found.held_back) == 6 * len(held)
    assert held == set(np.flatnonzero(held_back([f"patient {number}" for number in range(4)], 0.5)).tolist())


@pytest.mark.parametrize("content", [b"", b"no scan", bytes(128) + b"DICM" + b"\x08\x00garbage"])
def test_a_scan_that_is_none_is_named(folder, content):
    (folder / "0").mkdir()
    (folder / "0" / "a.dcm").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"a.dcm(:| is no)"):
        opened(folder)


def test_a_scan_cut_short_is_named(folder):
    dicom(folder / "0" / "a.dcm")
    whole = (folder / "0" / "a.dcm").read_bytes()
    (folder / "0" / "a.dcm").write_bytes(whole[:-10])
    with pytest.raises(Misconfigured, match=r"a.dcm"):
        opened(folder)


def test_a_check_names_every_scan_that_is_at_fault_once(folder):
    for name in ("a", "b", "cut", "pixelless", "wide"):
        dicom(folder / "0" / f"{name}.dcm", np.zeros((3, 5 if name == "wide" else 4), dtype=np.uint16))
    (folder / "0" / "none.dcm").write_bytes(b"no scan")
    (folder / "0" / "empty.dcm").write_bytes(b"")
    (folder / "0" / "cut.dcm").write_bytes((folder / "0" / "cut.dcm").read_bytes()[:-10])
    without = pydicom.dcmread(folder / "0" / "pixelless.dcm")
    del without.PixelData
    without.save_as(folder / "0" / "pixelless.dcm")
    expected = [
        r"none.dcm is no readable DICOM file: .*; export it anew",
        r"empty.dcm is no readable DICOM file: .*; export it anew",
        r"cut.dcm: its pixels cannot be read: .*pip install",
        r"pixelless.dcm: its pixels cannot be read",
        r"wide.dcm has the shape \(3, 5\) of float32, but a.dcm has \(3, 4\)",
    ]
    assert_told(every_fault(folder).reasons, expected)


# Tables

ROWS = "age,label,bmi,smoker\n61,1,22.5,true\n45,0,30.1,false\n70,2,25.0,true\n"


def parquet(folder, **columns):
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), folder / "t.parquet", row_group_size=2)


def test_a_table_gives_a_sample_a_row(folder):
    (folder / "t.csv").write_text(ROWS)
    found = opened(folder, 3)
    assert found.everything.y.tolist() == [1, 0, 2]
    assert np.allclose(found.everything.x, [[61, 22.5, 1], [45, 30.1, 0], [70, 25, 1]])


def test_parquet_is_read_over_its_row_groups(folder):
    count = 20_000
    parquet(folder, v=list(range(count)), label=[number % 3 for number in range(count)])
    found = opened(folder, 1)
    assert found.everything.x[:, 0].tolist() == list(range(count))
    assert found.everything.y[-1] == (count - 1) % 3


def test_the_description_names_columns_classes_and_normalisation(folder):
    (folder / "t.csv").write_text("id,stage,a,b,who\n9,ill,1,20,p\n8,well,3,40,q\n")
    describe(
        folder,
        'label = "stage"\nclass_names = ["well", "ill"]\nfeatures = ["b", "a"]\ngroup = "who"\nmean = [30, 2]\nstd = [10, 1]',
    )
    found = opened(folder, 2, share=0.5)
    assert found.everything.y.tolist() == [1, 0]
    assert np.allclose(found.everything.x, [[-1, -1], [1, 1]])
    assert found.held_back.rows.tolist() == np.flatnonzero(held_back(["p", "q"], 0.5)).tolist()


@pytest.mark.parametrize(
    ("text", "description", "reason"),
    [
        ("a,b\n1,2\n", "", r"t.csv has no column 'label'; it has a, b"),
        ("label\n1\n", "", "no column of values"),
        ("label,v\n", "", "has no rows"),
        ("label,v\nill,1\n", "", r"row 1 has the label 'ill', expected an integer from 0"),
        ("label,v\n0,1\n-1,1\n", "", "row 2 has the label -1"),
        ("label,v\n0.5,1\n", "", "row 1 has the label 0.5"),
        ("label,v\nsick,1\n", 'class_names = ["well", "ill"]', "row 1 has the label 'sick', expected one of well, ill"),
        ("label,v\n0,1\n0,\n", "", "row 2 has no number in column 'v'"),
        ("label,v\n0,abc\n", "", "column 'v' holds string, expected numbers"),
        ("label,v,v\n0,1,2\n", "", "two columns of one name"),
        ("label,v\n0,1\n0,1,2\n", "", "no readable table"),
        ("", "", "no readable table"),
        ("label,v,group\n0,1,a\n0,1,\n", "", "row 2 has no group"),
        ("label,v\n0,1\n", 'group = "who"', "no column 'who'"),
    ],
)
def test_tables_that_are_wrong_say_where(folder, text, description, reason):
    (folder / "t.csv").write_text(text)
    describe(folder, description)
    with pytest.raises(Misconfigured, match=reason):
        opened(folder, 1)


def test_a_parquet_file_that_is_none_is_named(folder):
    (folder / "t.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(Misconfigured, match=r"t.parquet is no readable table"):
        opened(folder, 1)


FAULTY = """age,label,bmi,remark,group
61,1,22.5,fine,a
45,ill,30.1,late,b
70,2
70,0.5,25.0,fine,
x,0,25.0,fine,c
70,-1,,fine,d
70,0,25.0,fine,e,7
many,0,1,,f
"""


def test_a_check_finds_every_fault_of_a_csv_by_its_row(folder):
    (folder / "t.csv").write_text(FAULTY)
    expected = [
        r"row 3 has 2 columns, expected 5; mend it or leave it out",
        r"row 7 has 6 columns, expected 5",
        r"row 2 has the label 'ill', expected an integer from 0 on",
        r"row 4 has the label 0.5",
        r"row 4 has no group; .*: fill it in",
        r"row 6 has the label -1",
        r"row 5 has no number in column 'age' but 'x'; fill it in",
        r"row 8 has no number in column 'age' but 'many'",
        r"row 6 has no number in column 'bmi'; fill it in",
        r"column 'remark' holds string, expected numbers; leave it out of features",
    ]
    assert_told(every_fault(folder).reasons, expected)


def test_a_check_of_a_csv_agrees_with_its_loading_on_labels_of_every_kind(folder):
    describe(folder, 'class_names = ["well", "ill"]\nfeatures = ["v", "smoker"]')
    (folder / "t.csv").write_text("label,v,smoker\nwell,1,true\nill,1e3,false\n")
    opened(folder, 2)
    assert every_fault(folder).reasons == []
    describe(folder, "")
    (folder / "t.csv").write_text("label,v\n0.0,1\n2.0,-3\n")
    opened(folder, 1)
    assert every_fault(folder).reasons == []


def test_a_check_finds_every_fault_of_a_parquet_file(folder):
    parquet(folder, v=[1.0, None, 3.0, float("nan")], text=["a", "b", "c", "d"], label=[0, -1, 1, None])
    describe(folder, 'group = "who"\nfeatures = ["v", "text", "w"]')
    expected = [
        r"no column 'who'; it has v, text, label",
        r"no column 'w'; it has v, text, label",
        r"row 2 has the label -1",
        r"row 4 has the label None",
        r"column 'text' holds string, expected numbers",
        r"row 2 has no number in column 'v'",
        r"row 4 has no number in column 'v'",
    ]
    assert_told(every_fault(folder).reasons, expected)


def test_two_tables_are_one_too_many(folder):
    (folder / "a.csv").write_text(ROWS)
    (folder / "b.csv").write_text(ROWS)
    with pytest.raises(Misconfigured, match=r"holds 2 tables \(a.csv, b.csv"):
        opened(folder, 3)
