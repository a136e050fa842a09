"""An IPFS gateway, asked for a file as a CAR so that every block can be checked (the trustless gateway protocol)."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.parties.http import streamed
from pipeline.parties.ipfs.assembly import traffic_limit, write_file
from pipeline.parties.ipfs.car import MAX_BLOCK_BYTES, BadSource
from pipeline.parties.ipfs.cid import RAW, Cid
from pipeline.parties.ipfs.dag_pb import UnfitFile

_CAR = "application/vnd.ipld.car"
#: Depth first, with a block for every occurrence: the form that the most gateways have.
_ACCEPT = f"{_CAR}; version=1; order=dfs; dups=y"


def fetch_from_gateway(gateway: str, cid: Cid, path: Path, *, max_bytes: int, timeout: float) -> None:
    """Writes the file of `cid`. `gateway`: its address, up to before `/ipfs/`. `timeout`: of every read.

    Raises UnfitFile where the CID names no file that is taken; whatever else is raised (BadSource, Retryable, Rejected) is
    this gateway's fault alone.
    """
    url = f"{gateway.rstrip('/')}/ipfs/{cid}"
    with streamed(
        url,
        max_bytes=traffic_limit(max_bytes),
        timeout=timeout,
        headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"},
    ) as answer:
        if _is_car(answer.content_type):
            write_file(cid, answer.chunks, path, max_bytes=max_bytes)
        elif cid.codec == RAW:
            _write_block(cid, answer.chunks, path, url, max_bytes)
        else:
            raise BadSource(
                f"{url} ignores Accept and sends {answer.content_type[:80]!r}, which cannot be checked against a CID of "
                "several blocks; expected a CAR: use another gateway"
            )


def _is_car(content_type: str) -> bool:
    """A CAR of version 1; blocks in another order, or deduplicated, are as good."""
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    versions = [text.partition("=")[2].strip('"') for text in parameters if text.startswith("version=")]
    return kind == _CAR and versions in ([], ["1"])


def _write_block(cid: Cid, chunks: Iterable[bytes], path: Path, url: str, max_bytes: int) -> None:
    """The plain file, where it is one raw block: the CID is its own hash then."""
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) > MAX_BLOCK_BYTES:
            raise BadSource(f"{url}: more than the {MAX_BLOCK_BYTES} bytes of one block")
    if not cid.matches(bytes(block)):
        raise BadSource(f"{url}: the bytes have another hash than {cid}")
    if len(block) > max_bytes:
        raise UnfitFile(f"IPFS {cid}: {len(block)} bytes, at most {max_bytes} are fetched (FLFLEET_MAX_MODEL_BYTES)")
    path.write_bytes(block)
