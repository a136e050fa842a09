"""What every stage takes and gives: a `Job` in, an `Output` out.

A stage module has one public `run(job: Job) -> Output`: it reads the artifacts that earlier stages made, calls plain
functions, writes its own artifacts and names them. It knows nothing of Celery, the ledger or its siblings, and running it
twice with the same job does no harm.

    stage     reads                                writes (artifact names)
    fetch     the task                             model [support] [parent_block]
    data      the identity's folder                - (the data set's digest is a figure: patients' data stay on their host)
    train     model                                delta
    compress  delta [support] [parent_block]       values residual [wish]
    commit    values                               opening (durable)
    encrypt   values opening [wish] [support]      header ciphertext (durable)
    submit    header ciphertext [wish]             payload (durable) receipt
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.records import Stage as Stage
from pipeline.stores.keys import Identity


@dataclass(frozen=True, kw_only=True)
class PreviousRun:
    """This identity's latest submitted run of the same task: where the residual comes from."""

    round: int
    #: Digest of kind `submission`.
    submission_hash: str
    #: Artifact names to digests: values, residual, [support].
    artifacts: Mapping[str, str]
    #: That round's task: scale, pack and dimension.
    task: Task


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage of one run."""

    run_id: str
    task: Task
    identity: Identity
    #: Artifact names to digests, of all stages before this one.
    inputs: Mapping[str, str]
    #: Small results of all stages before this one.
    figures: Mapping[str, Any]
    artifacts: ArtifactStore
    settings: Settings
    previous: PreviousRun | None = None
    #: Opens the identity's secret key: given to `submit` alone.
    secret_key: Callable[[], SecretKey] | None = None
    #: Called with progress (epoch, loss, ...), for people.
    report: Callable[[Mapping[str, Any]], None] = field(default=lambda _progress: None)
    #: Makes an artifact's digest part of the run before the stage ends (submit's payload, training's checkpoint).
    note: Callable[[str, str], None] = field(default=lambda _name, _digest: None)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a stage made."""

    artifacts: Mapping[str, str] = field(default_factory=dict)
    #: Small JSON values for later stages and for people: counts, losses, hashes. Never secrets.
    figures: Mapping[str, Any] = field(default_factory=dict)
