import hashlib
import json
from pathlib import Path

from pipeline.curve.generators import H, derive_generator

VECTORS = Path(__file__).parents[2] / "vectors" / "ndd_fe_1.json"


def test_h_is_the_generator_of_the_vectors():
    assert "0x" + H.hex() == json.loads(VECTORS.read_text())["generator"]


def test_h_comes_out_of_the_label_at_the_fifth_try():
    assert derive_generator() == H
    assert H[1:] == hashlib.sha256(b"ndd-fe/1 generator\x04").digest()
    assert H[0] == 2
