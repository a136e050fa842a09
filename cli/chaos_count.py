"""What has become of every run: counted from the aggregator's side, from its public answers, and from the fleet's."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cli.chaos_home import Ground
from pipeline.aggregation.aggregator.context import AggregatorDesk, open_desk
from pipeline.errors import Corrupt, FleetError
from pipeline.nddfe.score import commitment
from pipeline.parties.blocks import fetch_block
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import from_hex, to_hex
from pipeline.settings import load
from pipeline.stores.aggregator.rounds import MOVING, Round
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import OPEN, Run, State

_TIMEOUT = 10.0
#: A task and a miner's address.
Name = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Count:
    """Every number, and a sentence for each run that is not as promised."""

    runs: int
    #: Exactly one submission is in, its round's public block names it, and the fleet holds the receipt.
    accepted: int
    #: Over, and not accepted.
    lost: int
    #: Two or more submissions with different bytes of one miner for one round left the fleet, or arrived.
    duplicates: int
    #: Still on its way, or its round is.
    stuck: int
    #: Submissions in a block whose commit the fleet cannot open any more.
    openings_lost: int
    problems: Sequence[str]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost, doubled or stuck."""
        return self.accepted == self.runs and not (self.lost or self.duplicates or self.stuck or self.openings_lost)


def count(ground: Ground, task_ids: Sequence[str]) -> Count:
    """Looks at everything once. The parties must be up: blocks are read as anybody would."""
    settings = load(ground.fleet_home)
    ledger = RunLedger.open(settings)
    desk = open_desk(load(ground.network.aggregator_home))
    try:
        runs = {(run.task_id, run.miner): run for run in ledger.runs()}
        rounds = {found.row.task_id: found for found in desk.rounds.all()}
        doubled = _doubled(desk, ground.proxy.submitted())
        fates, problems = [], [f"{task} of {miner}: several different submissions" for task, miner in sorted(doubled)]
        openings_lost = 0
        store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
        for task_id in task_ids:
            found = rounds.get(task_id)
            commits = _commits(found, ground)
            for miner in ground.network.consortium.miners:
                run = runs.get((task_id, miner))
                fate, why = _fate(run, found, miner in commits)
                fates.append(fate)
                if why:
                    problems.append(f"{task_id} of {miner}: {fate}: {why}")
                if miner in commits and not opens(run, store, commits[miner]):
                    openings_lost += 1
                    problems.append(f"{task_id} of {miner}: the opening does not open the commit")
    finally:
        ledger.close()
        desk.close()
    number = Counter(fates)
    return Count(
        runs=len(fates),
        accepted=number["accepted"],
        lost=number["lost"],
        duplicates=len(doubled),
        stuck=number["stuck"],
        openings_lost=openings_lost,
        problems=problems,
    )


def opens(run: Run | None, store: ArtifactStore, score_commit: str) -> bool:
    """Whether the fleet holds what opens a commit."""
    if run is None or "opening" not in run.artifacts:
        return False
    try:
        opening = json.loads(store.get(run.artifacts["opening"]))
    except Corrupt:
        return False
    nonce = from_hex(opening["nonce"], 32, "nonce")
    return to_hex(commitment(int(opening["score"]), nonce, run.task_id, run.miner)) == score_commit


def _fate(run: Run | None, found: Round | None, is_in_block: bool) -> tuple[str, str]:
    """A run's fate, and the sentence for a person unless all is well."""
    if run is None:
        return "stuck", "the fleet has made no run of it"
    if run.state not in (*OPEN, State.ACCEPTED):
        return "lost", f"{run.state} in {run.stage}: {run.error}"
    if found is None or found.state in MOVING:
        status = "unknown" if found is None else f"{found.status} with {found.accepted} ({found.row.reason})"
        return "stuck", f"{run.state} in {run.stage} ({run.error}); its round is {status} at the aggregator"
    if not is_in_block:
        return "lost", f"{run.state}, but the aggregator's block ({found.status}, {found.row.reason}) does not name it"
    if run.state != State.ACCEPTED:
        return "stuck", f"{run.state} in {run.stage} ({run.error}), although the aggregator has it"
    return "accepted", ""


def _commits(found: Round | None, ground: Ground) -> Mapping[str, str]:
    """scoreCommit by miner, of the block as anybody may read it."""
    if found is None or found.row.block_hash is None:
        return {}
    aggregator = ground.network.consortium.aggregator
    try:
        block: Block = fetch_block(aggregator.url, found.row.block_hash, aggregator.address, _TIMEOUT)
    except FleetError:
        return {}
    return {one.miner: one.scoreCommit for one in block.fields.participants}


def _doubled(desk: AggregatorDesk, passed: Mapping[tuple[str, int, str], int]) -> set[Name]:
    """Who sent several different submissions for a round: as they passed the proxy, and as the aggregator keeps them."""
    seen = {(task_id, miner) for (task_id, _round, miner), bodies in passed.items() if bodies > 1}
    kept: dict[Name, set[str]] = {}
    for stored in desk.submissions.all():
        kept.setdefault((stored.task_id, stored.header.miner), set()).add(stored.header.submission_hash)
    return seen | {name for name, hashes in kept.items() if len(hashes) > 1}
