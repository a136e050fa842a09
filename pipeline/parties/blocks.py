"""Blocks, as anyone may ask an aggregator for them (PROTOCOL.md section 8)."""

from pipeline.errors import Rejected
from pipeline.parties.http import fetch_bytes
from pipeline.protocol.block import MAX_BLOCK_BYTES, Audit, Block
from pipeline.protocol.signing import check_embedded_signature


def fetch_block(aggregator_url: str, block_hash: str, aggregator_address: str, timeout: float) -> Block:
    """The block of a hash, signed by the aggregator. Raises Rejected where another one came, BadSignature, Retryable."""
    url = f"{aggregator_url}/aggregator/blocks/{block_hash}"
    block = Block.decode(fetch_bytes(url, max_bytes=MAX_BLOCK_BYTES, timeout=timeout))
    if block.block_hash != block_hash:
        raise Rejected(f"{url}: answered with block {block.block_hash}")
    check_embedded_signature("block", block.document, aggregator_address, "the aggregator")
    return block


def fetch_audit(aggregator_url: str, block_hash: str, *, max_bytes: int, timeout: float) -> Audit:
    """A block's audit data; the block's hashes say whether they are the right ones. Raises Rejected or Retryable."""
    url = f"{aggregator_url}/aggregator/blocks/{block_hash}/audit"
    return Audit.decode(fetch_bytes(url, max_bytes=max_bytes, timeout=timeout))
