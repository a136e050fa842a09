"""By which way requests leave this host: a proxy, and whose certificates are believed. The operator's settings, set once a process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import should_bypass_proxies

from pipeline.errors import Misconfigured
from pipeline.settings import Settings, current


@dataclass(frozen=True, kw_only=True)
class Route:
    """What `requests` needs to know."""

    #: http or https address, perhaps with a password; None: no proxy but what the environment names (HTTPS_PROXY).
    proxy: str | None = None
    #: Hosts, domains and networks that are asked directly.
    no_proxy: Sequence[str] = ()
    #: PEM file of the authorities that are believed in place of the public ones; None: the public ones.
    ca_bundle: Path | None = None

    def proxies(self, url: str) -> dict[str, str] | None:
        """The proxy for an address; None leaves it to the environment."""
        if self.proxy is None:
            return None
        if should_bypass_proxies(url, no_proxy=",".join(self.no_proxy)):
            # Empty ones win over those of the environment.
            return {"http": "", "https": "", "no_proxy": urlsplit(url).hostname or ""}
        return {"http": self.proxy, "https": self.proxy}

    def verify(self) -> bool | str:
        """Whose certificates are believed. There is no setting that believes everybody's."""
        return True if self.ca_bundle is None else str(self.ca_bundle)


def route_of(settings: Settings) -> Route:
    """The settings' route. Raises Misconfigured: a proxy that is no address, a bundle that is not there."""
    proxy = None if settings.proxy is None else settings.proxy.get_secret_value()
    if proxy is not None and (urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname):
        raise Misconfigured("FLFLEET_PROXY must be an address like http://proxy.example:3128")
    bundle = None if settings.ca_bundle is None else settings.path(settings.ca_bundle)
    if bundle is not None and not bundle.is_file():
        raise Misconfigured(f"{bundle}: no file there; FLFLEET_CA_BUNDLE must name a PEM file of certificates")
    return Route(proxy=proxy, no_proxy=tuple(settings.no_proxy), ca_bundle=bundle)


_chosen: Route | None = None


def use(settings: Settings) -> None:
    """Sends this process's requests by these settings: for a command that reads another home than the environment's."""
    global _chosen
    _chosen = route_of(settings)


def route() -> Route:
    """This process's route. Raises Misconfigured."""
    return _chosen or _of_this_process()


@lru_cache(maxsize=1)
def _of_this_process() -> Route:
    return route_of(current())
