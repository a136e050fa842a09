"""Damage to stored artifacts: cut in the middle, or with one byte flipped, in place, as a failing disk would leave them."""

import random
from pathlib import Path

from cli.chaos_home import Ground
from pipeline.settings import load
from pipeline.stores.fleet.base import PAYLOAD
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import OPEN, Run

#: What may be made again from its inputs. An opening is the one thing that cannot once its commit is out: see docs/chaos.md.
SPOILABLE = ("model", "delta", "values", "residual", "wish", "header", "ciphertext")


class ArtifactDamage:
    """Chooses artifacts of runs that still need them."""

    def __init__(self, ground: Ground) -> None:
        self._folder = ground.fleet_home / "artifacts"
        self._ledger = RunLedger.open(load(ground.fleet_home))

    def truncate(self, chance: random.Random) -> str | None:
        """Cuts an artifact; returns the id of the run that it belongs to, None where no run has one."""
        chosen = self._choose(chance)
        if chosen is None:
            return None
        run_id, path = chosen
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        return run_id

    def flip(self, chance: random.Random) -> str | None:
        """Flips one bit of an artifact; as `truncate`."""
        chosen = self._choose(chance)
        if chosen is None:
            return None
        run_id, path = chosen
        with path.open("r+b") as file:
            position = chance.randrange(path.stat().st_size)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
        return run_id

    def _choose(self, chance: random.Random) -> tuple[str, Path] | None:
        candidates = [
            (run.run_id, path)
            for run in self._ledger.runs(states=OPEN)
            for path in self._spoilable(run)
            if PAYLOAD not in run.notes
        ]
        return chance.choice(candidates) if candidates else None

    def _spoilable(self, run: Run) -> list[Path]:
        digests = {run.artifacts[name] for name in SPOILABLE if name in run.artifacts}
        paths = [self._folder / digest[:2] / digest for digest in sorted(digests)]
        return [path for path in paths if path.is_file() and path.stat().st_size]
