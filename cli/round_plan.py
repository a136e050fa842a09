"""`--plan "1.0, 0.3, then 0.1"`, the share of the coordinates that each round sends, and `--pack`, as a person writes them."""

import re
from collections.abc import Sequence

from pipeline.errors import Misconfigured

#: Rounds that a plan may spell out; the last share holds for all later ones.
_LONGEST = 100
_HOW = 'write it as "1.0, then 0.1" or "1.0, 0.3, then 0.1": a share for each round, the last one for all later rounds'
#: A base of 2 in 2^40.
_LARGEST_PACK = 40
_SHARE = re.compile(r"\d+(\.\d*)?|\.\d+")


def parse_plan(text: str) -> list[float]:
    """The shares, round 1 first; the last one is that of every later round. Raises Misconfigured.

    Round 1 sends all coordinates: a smaller support is voted from the wishes of the round before, and there is none.
    """
    *first, last = (part.strip() for part in text.split(","))
    parts = [*first, last.removeprefix("then ").strip()]
    if wrong := [part for part in parts if not _SHARE.fullmatch(part) or not 0 < float(part) <= 1]:
        raise Misconfigured(f"--plan {text[:80]!r}: {wrong[0][:40]!r} is no share above 0 and at most 1; {_HOW}")
    shares = [float(part) for part in parts]
    if len(shares) > _LONGEST:
        raise Misconfigured(f"--plan spells {len(shares)} rounds out, at most {_LONGEST} are; {_HOW}")
    if shares[0] != 1:
        raise Misconfigured(
            f"--plan {text[:80]!r}: round 1 sends all coordinates (share 1.0), since a smaller support is voted from the "
            f"wishes of the round before; {_HOW}"
        )
    return shares


def task_ratios(shares: Sequence[float]) -> list[float]:
    """compression.ratio of each round's task: it sizes the wishes of a round, and so what the *next* one sends."""
    return list(shares[1:]) or list(shares)


def plan_text(shares: Sequence[float]) -> str:
    """As `parse_plan` reads it."""
    *first, last = (f"{share:g}" for share in shares)
    return ", ".join([*first, f"then {last}"]) if first else last


def parse_pack(text: str) -> int | None:
    """`auto` is None. Raises Misconfigured."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= _LARGEST_PACK:
        raise Misconfigured(f"--pack: expected auto or a number from 1 to {_LARGEST_PACK}, got {text[:40]!r}")
    return int(text)
