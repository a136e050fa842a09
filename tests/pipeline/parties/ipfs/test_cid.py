import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Malformed
from pipeline.parties.ipfs.cid import DAG_PB, RAW, Cid, parse_cid
from tests.ipfs_dags import binary
from tests.ipfs_vectors import INDEX


@pytest.mark.parametrize("root", INDEX["roots"], ids=lambda root: root["root"][:12])
def test_every_form_of_a_real_root_names_the_same_block(root):
    cid = parse_cid(root["root"])
    assert parse_cid(root.get("root_as_returned", root["root"])) == cid
    assert str(cid) == root["root"] if root["root"].startswith("b") else parse_cid(str(cid)) == cid


@given(st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read(codec, digest):
    cid = Cid(codec=codec, digest=digest)
    assert parse_cid(str(cid)) == cid


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected 46"),
        ("Q" * 101, "got 101"),
        ("Qm" + "1" * 43, "version 0"),
        ("Qm" + "0" * 44, "'0' is no digit"),
        ("z0", "no digit"),
        ("b!", "no base32"),
        ("bafkreie5dlztbly4v4r6okw24y7jntng5c6a2n7zhjxgtqeolfozb2v2kv", "canonical"),
        ("BAFKREIE5DLZTBLY4V4R6OKW24Y7JNTNG5C6A2N7ZHJXGTQEOLFOZB2V2KU", "expected Qm"),
        ("/ipfs/QmXgx4Rm6pPExni8jJdGyqskzndK9uu1HYcJ4BpWdDBZYr", "expected Qm"),
    ],
)
def test_a_text_that_is_no_cid_says_why(text, reason):
    with pytest.raises(Malformed, match=reason):
        parse_cid(text)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x02\x55\x12\x20" + bytes(32), "version 2"),
        (b"\x01\x71\x12\x20" + bytes(32), "codec 0x71"),
        (b"\x01\x55\x00\x04abcd", "not SHA-256"),
        (b"\x01\x55\x12\x20" + bytes(31), "within its digest"),
        (b"\x01\x55\x12\x20" + bytes(33), "1 bytes too many"),
        (b"\x01\xd5\x80\x00\x12\x20" + bytes(32), "padded"),
        (b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + bytes(20), "longer than 9"),
        (b"\x01\xff", "within a number"),
    ],
)
def test_a_binary_cid_of_another_kind_is_refused(data, reason):
    import base64

    with pytest.raises(Malformed, match=reason):
        parse_cid("b" + base64.b32encode(data).decode().lower().rstrip("="))


def test_a_cid_matches_its_block_alone():
    cid = parse_cid(str(Cid(codec=RAW, digest=bytes(32))))
    assert binary(cid).endswith(bytes(32))
    assert not cid.matches(b"x")
