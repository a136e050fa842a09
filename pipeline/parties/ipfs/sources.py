"""All the IPFS sources of an operator, in turn, until one serves bytes that are the CID's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.errors import Misconfigured, Rejected, Retryable
from pipeline.parties.ipfs.cid import Cid, parse_cid
from pipeline.parties.ipfs.dag_pb import UnfitFile
from pipeline.parties.ipfs.gateway import fetch_from_gateway
from pipeline.parties.ipfs.rpc import fetch_from_node


class Ask(Protocol):
    """How a source is asked for a file."""

    def __call__(self, source: str, cid: Cid, path: Path, /, *, max_bytes: int, timeout: float) -> None:
        """Writes the file, verified, to `path`."""


@dataclass(frozen=True, kw_only=True)
class IpfsSources:
    """Where files are looked for: the operator's own node first, then the gateways in their order."""

    #: Multiaddress of a node's RPC, or None.
    api: str | None = None
    #: Addresses, up to before `/ipfs/`.
    gateways: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self.api is not None or bool(self.gateways)

    def fetch(self, cid_text: str, path: Path, *, max_bytes: int, timeout: float) -> str:
        """Writes the file that the CID names to `path`, verified; returns the source that served it.

        Raises Rejected for a CID that is none or names no file that is taken, Misconfigured where no source is set, Retryable
        with every source's reason where none could serve it.
        """
        cid = parse_cid(cid_text)
        if not self:
            raise Misconfigured(f"IPFS {cid}: no source is set; set FLFLEET_IPFS_GATEWAYS or FLFLEET_IPFS_API")
        reasons = []
        for source, ask in self._in_turn():
            try:
                ask(source, cid, path, max_bytes=max_bytes, timeout=timeout)
            except UnfitFile:
                raise
            except (Retryable, Rejected) as error:
                reasons.append(str(error))
            else:
                return source
        raise Retryable(f"IPFS {cid}: no source served it: {'; '.join(reasons)}")

    def _in_turn(self) -> Iterator[tuple[str, Ask]]:
        if self.api is not None:
            yield self.api, fetch_from_node
        for gateway in self.gateways:
            yield gateway, fetch_from_gateway
