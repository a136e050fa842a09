import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FleetError
from pipeline.parties.ipfs import assembly
from pipeline.parties.ipfs.assembly import traffic_limit, write_file
from pipeline.parties.ipfs.car import MAX_BLOCK_BYTES, BadSource
from pipeline.parties.ipfs.cid import DAG_PB, Cid, parse_cid
from pipeline.parties.ipfs.dag_pb import MAX_LINKS, UnfitFile
from pipeline.protocol.encodings import sha256
from tests.ipfs_dags import HEADER, car, field, node, raw, section
from tests.ipfs_vectors import BAD_CARS, CARS, car_bytes, original


def written(cid, data, path, *, max_bytes=2**20, chunk=997):
    """The file that comes out of a CAR that arrives in chunks."""
    chunks = (data[start : start + chunk] for start in range(0, len(data), chunk))
    write_file(cid, chunks, path / "model", max_bytes=max_bytes)
    return (path / "model").read_bytes()


@pytest.mark.parametrize("vector", CARS, ids=lambda vector: vector["file"])
def test_a_real_car_gives_the_original(vector, tmp_path):
    cid = parse_cid(vector["root"])
    assert written(cid, car_bytes(vector["file"]), tmp_path, chunk=65_536) == original(vector)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("vector", BAD_CARS, ids=lambda vector: vector["file"])
def test_a_bad_car_is_the_sources_fault(vector, tmp_path):
    with pytest.raises(BadSource, match="CAR: "):
        written(parse_cid(vector["root"]), car_bytes(vector["file"]), tmp_path)


def test_chunks_of_any_size_and_empty_ones_make_no_difference(tmp_path):
    vector = CARS[1]
    data = car_bytes(vector["file"])
    chunks = [b"", data[:1], b"", *(bytes([byte]) for byte in data[1:]), b""]
    write_file(parse_cid(vector["root"]), chunks, tmp_path / "model", max_bytes=2**20)
    assert (tmp_path / "model").read_bytes() == original(vector)


def test_blocks_may_come_in_any_order_and_again(tmp_path):
    root, block = node([(raw(b"ab"), 2), (raw(b"c"), 1), (raw(b"ab"), 2)])
    blocks = [(raw(b"c"), b"c"), (raw(b"ab"), b"ab"), (root, block), (raw(b"c"), b"c")]
    assert written(root, car(blocks), tmp_path) == b"abcab"


def test_a_nodes_own_bytes_come_before_its_links(tmp_path):
    root, block = node([(raw(b"cd"), 2)], data=b"ab")
    assert written(root, car([(root, block), (raw(b"cd"), b"cd")]), tmp_path) == b"abcd"


def test_a_raw_block_of_two_mebibytes_is_read_and_a_larger_one_is_not(tmp_path):
    block = bytes(MAX_BLOCK_BYTES)
    assert written(raw(block), car([(raw(block), block)]), tmp_path, max_bytes=2**22, chunk=2**18) == block
    with pytest.raises(BadSource, match="at most 2097152"):
        written(raw(block + b"x"), car([(raw(block + b"x"), block + b"x")]), tmp_path, max_bytes=2**22, chunk=2**18)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends after 0 of 1"),
        (section(b""), "header of 0 bytes"),
        (b"\xff" * 8 + b"\x7f", "header of .* expected 1 to"),
        (b"\x80" * 9 + b"\x01", "longer than 9 bytes"),
        (section(b"\xa1\x67version\x02"), "not begin as a CAR of version 1"),
        (b"<html>" * 2000, "CAR: "),
        (b'{"Message": "no"}', "CAR: "),
        (section(HEADER) + section(b"\x01\x71\x12\x20" + bytes(32)), "not labelled by a CID"),
        (section(HEADER), "is missing"),
    ],
)
def test_what_is_no_car_is_the_sources_fault(data, reason, tmp_path):
    with pytest.raises(BadSource, match=reason):
        written(raw(b"x"), data, tmp_path)


@pytest.mark.parametrize(
    ("kind", "reason"), [(1, "a directory"), (4, "a symbolic link"), (5, "sharded"), (9, "of an unknown kind")]
)
def test_what_is_no_file_is_refused_for_good(kind, reason, tmp_path):
    root, block = node([], kind=kind)
    with pytest.raises(UnfitFile, match=f"{reason}.*, expected a file"):
        written(root, car([(root, block)]), tmp_path)


@pytest.mark.parametrize(
    "links_and_total",
    [([(raw(b"ab"), 3)], None), ([(raw(b"ab"), 2)], 5), ([(raw(b""), 0)], None)],
    ids=["child", "total", "nothing"],
)
def test_sizes_that_contradict_each_other_are_refused(links_and_total, tmp_path):
    links, total = links_and_total
    root, block = node(links, total=total)
    with pytest.raises(UnfitFile):
        written(root, car([(root, block), (raw(b"ab"), b"ab"), (raw(b""), b"")]), tmp_path)


@pytest.mark.parametrize("block", [b"\x08", field(1, b""), field(1, 5), field(3, b""), b"\x0a\x7f", field(2, b"")])
def test_a_block_that_is_no_node_is_refused(block, tmp_path):
    root = Cid(codec=DAG_PB, digest=sha256(block))
    with pytest.raises(UnfitFile):
        written(root, car([(root, block)]), tmp_path)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_random_blocks_never_break_the_reader(tmp_path_factory, block):
    root = Cid(codec=DAG_PB, digest=sha256(block))
    with contextlib.suppress(FleetError):
        written(root, car([(root, block)]), tmp_path_factory.getbasetemp())


def test_a_file_above_the_limit_is_refused_by_its_root(tmp_path):
    root, block = node([(raw(b"x"), 101)])
    with pytest.raises(UnfitFile, match=r"101 bytes, at most 100.*FLFLEET_MAX_MODEL_BYTES"):
        written(root, car([(root, block)]), tmp_path, max_bytes=100)


def test_a_small_car_that_unfolds_without_end_is_stopped(tmp_path):
    blocks, child, size = [(raw(b"x"), b"x")], raw(b"x"), 1
    for _ in range(12):
        child, block = node([(child, size)] * 16)
        blocks.append((child, block))
        size *= 16
    with pytest.raises(UnfitFile, match="at most"):
        written(child, car(blocks), tmp_path)


def test_a_tree_that_is_too_deep_or_much_larger_than_the_file_is_refused(tmp_path):
    blocks, child = [(raw(b"x"), b"x")], raw(b"x")
    for _ in range(assembly.MAX_DEPTH + 1):
        child, block = node([(child, 1)])
        blocks.append((child, block))
    with pytest.raises(UnfitFile, match="deeper than 32"):
        written(child, car(blocks), tmp_path)


def test_a_walk_that_reads_far_more_than_the_file_is_stopped(tmp_path):
    # One byte a leaf, and above each leaf a node that weighs two mebibytes by its padding.
    leaf = raw(b"x")
    heavy_block = node([(leaf, 1)])[1] + b""
    padding = field(2, field(1, b"\x01\x55\x12\x20" + leaf.digest) + field(2, b"n" * (MAX_BLOCK_BYTES - 300)))
    heavy_block = padding + field(1, field(1, 2) + field(3, 1) + field(4, 1))
    heavy = Cid(codec=DAG_PB, digest=sha256(heavy_block))
    root, block = node([(heavy, 1)] * 5)
    data = car([(root, block), (heavy, heavy_block), (leaf, b"x")])
    with pytest.raises(UnfitFile, match="much larger than the file"):
        written(root, data, tmp_path, max_bytes=100, chunk=2**18)
    assert traffic_limit(100) < 3 * MAX_BLOCK_BYTES


def test_too_many_links_or_blocks_are_refused(tmp_path, monkeypatch):
    root, block = node([(raw(b"x"), 1)] * (MAX_LINKS + 1))
    with pytest.raises(UnfitFile, match="more than 8192 links"):
        written(root, car([(root, block)]), tmp_path)
    monkeypatch.setattr(assembly, "MAX_BLOCKS", 3)
    blocks = [(raw(bytes([number])), bytes([number])) for number in range(4)]
    with pytest.raises(BadSource, match="more than 3 blocks"):
        written(raw(b"\x00"), car(blocks), tmp_path)


def test_memory_stays_at_a_few_blocks_whatever_the_files_size(tmp_path):
    count, size = 64, 2**19
    leaves = [number.to_bytes(4, "big") * (size // 4) for number in range(count)]
    root, block = node([(raw(leaf), size) for leaf in leaves])

    def chunks():
        yield section(HEADER)
        yield car([(root, block)])[len(section(HEADER)) :]
        for leaf in leaves:
            data = car([(raw(leaf), leaf)])[len(section(HEADER)) :]
            for start in range(0, len(data), 65_536):
                yield data[start : start + 65_536]

    tracemalloc.start()
    try:
        write_file(root, chunks(), tmp_path / "model", max_bytes=count * size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "model").stat().st_size == count * size
    assert peak < 8 * size < count * size / 4
