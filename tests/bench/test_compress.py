from bench.compress import measured
from bench.curve import text


def test_compression_takes_less_memory_than_plain_numpy() -> None:
    table = measured(2_000_000)
    assert all(row.peak is not None and row.peak > 0 for row in table)
    for row in table:
        if not row.name.startswith("compress"):  # its results are most of its memory
            assert row.as_json()["peakBytes"] < row.as_json()["peakBytesOf"]["numpy"], row.name
    assert "MiB (numpy" in text(table)
