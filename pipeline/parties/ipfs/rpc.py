"""An IPFS node's own RPC (Kubo, js-ipfs), by ipfshttpclient: `dag/export` gives a CAR.

`Client` is built directly: `connect()` first asks the node's version and refuses every one after 0.7. The content type is not
looked at, since nodes label a CAR as JSON or text; what counts are the hashes.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Misconfigured, Retryable
from pipeline.parties.ipfs.assembly import traffic_limit, write_file
from pipeline.parties.ipfs.car import BadSource
from pipeline.parties.ipfs.cid import Cid


def fetch_from_node(address: str, cid: Cid, path: Path, *, max_bytes: int, timeout: float) -> None:
    """Writes the file of `cid`. `address`: a multiaddress such as /ip4/127.0.0.1/tcp/5001/http.

    `timeout`: seconds for a connection and for every read. A node that lacks a block looks for it without end, so a read that
    takes longer ends here. Raises UnfitFile where the CID names no file that is taken, Misconfigured for an address that is
    none, Retryable for whatever else.
    """
    import ipfshttpclient.client
    import multiaddr.exceptions

    # The client of 2021 passes urllib3 an argument that is ignored since; urllib3 is pinned below 3.
    warnings.filterwarnings("ignore", "The 'strict' parameter is no longer needed", FutureWarning)
    with _mapped(address, cid):
        try:
            client = ipfshttpclient.client.Client(address, timeout=(timeout, timeout))
        except (ipfshttpclient.exceptions.AddressError, multiaddr.exceptions.Error) as error:
            raise Misconfigured(
                f"FLFLEET_IPFS_API {address!r} is no address of a node ({error}); expected e.g. /ip4/127.0.0.1/tcp/5001/http"
            ) from None
        with client.dag.export(str(cid), stream=True) as chunks:
            write_file(cid, _bounded(chunks, address, traffic_limit(max_bytes)), path, max_bytes=max_bytes)


def _bounded(chunks: Iterable[bytes], address: str, most: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise BadSource(f"IPFS node {address}: more than {most} bytes")
        yield chunk


@contextmanager
def _mapped(address: str, cid: Cid) -> Iterator[None]:
    """The client maps errors of the answer's beginning; those while its body comes are requests' own."""
    import ipfshttpclient.exceptions
    import requests

    try:
        yield
    except (ipfshttpclient.exceptions.TimeoutError, requests.exceptions.Timeout):
        raise Retryable(f"IPFS node {address}: no answer in time; does it have {cid}?") from None
    except (ipfshttpclient.exceptions.Error, requests.exceptions.RequestException) as error:
        raise Retryable(f"IPFS node {address}: {type(error).__name__}: {str(error)[:300]}") from None
