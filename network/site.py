"""What the pages share: templates that escape everything, their own few files, and headers that let nothing else in."""

from datetime import UTC, datetime
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from network.answers import NotFound

_WEB = Path(__file__).parent / "web"
_STATIC = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_UNITS = ("", "k", "M", "G", "T")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Site:
    """Renders the pages' templates."""

    def __init__(self) -> None:
        self._templates = Environment(loader=FileSystemLoader(_WEB), autoescape=True, undefined=StrictUndefined)
        self._templates.filters |= {
            "percent": lambda value: "–" if value is None else f"{value:.2%}",
            "thousands": lambda value: "–" if value is None else f"{value:,}".replace(",", "\u202f"),
            "age": lambda value: "–" if value is None else age(value),
            "short": lambda value: "–" if value is None else short(value),
            "seconds": lambda value: "–" if value is None else f"{value:.3g} s",
            "loss": lambda value: "–" if value is None else f"{value:.4g}",
            "utc": lambda value: datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        }

    def render(self, template: str, **values: object) -> Response:
        """A page, or a part of one. Every value is text to the template, whatever it holds."""
        return HTMLResponse(self._templates.get_template(template).render(values), headers=_HEADERS)


def static(name: str) -> Response:
    """The pages' own files. Raises NotFound."""
    if name not in _STATIC:
        raise NotFound(f"no file {name[:64]!r}")
    return FileResponse(_WEB / name, media_type=_STATIC[name], headers={"X-Content-Type-Options": "nosniff"})


def age(seconds: float) -> str:
    """A duration for people, in its largest unit."""
    if seconds < _MINUTE:
        return f"{max(seconds, 0):.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} d"


def short(amount: float) -> str:
    """A large number in three digits: 12300000 is 12.3 M."""
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.3g} {unit}".strip()
