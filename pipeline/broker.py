"""How the broker is reached: its URL, and over TLS whose certificate is believed. For whoever opens a connection to it."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import Misconfigured
from pipeline.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def tls_options(settings: Settings) -> dict[str, Any]:
    """`ssl_...` options of redis-py and kombu for a rediss:// broker; none for another.

    The certificate is always checked. Raises Misconfigured: a file that is not there, or files without rediss://.
    """
    named = {"FLFLEET_BROKER_CA": settings.broker_ca, "FLFLEET_BROKER_CERTIFICATE": settings.broker_certificate}
    if urlsplit(settings.broker).scheme != "rediss":
        if unused := [name for name, path in named.items() if path is not None]:
            raise Misconfigured(f"{' and '.join(unused)} are of no use with a broker_url that is not rediss://")
        return {}
    for name, path in named.items():
        if path is not None and not settings.path(path).is_file():
            raise Misconfigured(f"{settings.path(path)}: no file there; {name} must name a PEM file")
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if settings.broker_ca is not None:
        options["ssl_ca_certs"] = str(settings.path(settings.broker_ca))
    if settings.broker_certificate is not None:
        options["ssl_certfile"] = options["ssl_keyfile"] = str(settings.path(settings.broker_certificate))
    return options


def is_plain_beyond_this_host(url: str) -> bool:
    """Whether whoever is on the network between may read and write the queues."""
    parts = urlsplit(url)
    return parts.scheme == "redis" and parts.hostname not in _LOOPBACK
