"""The task (docs/protocol.md, section 2): what a publisher posts and signs for one round."""

import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import Malformed
from pipeline.protocol.encodings import (
    PROTOCOL,
    address_from_text,
    address_of,
    from_hex,
    point33_from_public_key,
)
from pipeline.protocol.signing import check_embedded_signature, digest_of
from pipeline.protocol.strict import convert, read_json

#: B^pack may not be larger: the logarithm of a packed sum must stay cheap for everyone.
MAX_PACKED = 2**40
#: Bytes of a task's JSON that a reader takes: a roster of 1,000 addresses is 45 KiB.
MAX_TASK_BYTES = 256 * 1024
DEFAULT_TIMEOUT_SECONDS = 3600
_TASK_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A network by registered name and keyword arguments."""

    name: str
    kwargs: dict[str, Any] = {}


class Transform(msgspec.Struct, frozen=True, kw_only=True):
    """A random change of samples while training, by registered name and keyword arguments."""

    name: str
    kwargs: dict[str, Any] = {}


class Privacy(msgspec.Struct, frozen=True, kw_only=True):
    """Differential privacy of a miner's samples: DP-SGD (Abadi et al. 2016)."""

    #: Noise multiplier: the noise's standard deviation over `clip`.
    noise: float
    #: Largest L2 norm of one sample's gradient.
    clip: float
    #: The delta at which epsilon is reported.
    delta: float = 1e-5


class Training(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the publisher asks of a miner's training; the operator's limits win."""

    epochs: int = 1
    batch_size: int = 16
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    #: Of sgd.
    momentum: float = 0.0
    #: Pulls weights towards zero, as the optimiser does it.
    weight_decay: float = 0.0
    #: How the learning rate goes over the run's steps.
    schedule: str = "constant"
    loss: str = "cross_entropy"
    #: A factor per class, or "balanced": the rarer a class is in a miner's data, the more its samples count.
    class_weights: str | list[float] | None = None
    #: FedProx's mu (Li et al. 2020): pulls weights towards the round's model.
    proximal: float = 0.0
    #: Largest L2 norm of a step's gradient.
    clip_norm: float | None = None
    #: Epochs without a lower loss on the held-back part after which a training ends.
    patience: int | None = None
    #: Random changes of images, in order.
    augmentation: list[Transform] = []
    #: None: as it learns best, without a guarantee.
    dp: Privacy | None = None


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the model's coordinates travels."""

    #: Share of the coordinates that a wish may name and the next support holds, 0 < ratio <= 1.
    ratio: float


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """How a coordinate becomes a small integer."""

    #: Integer steps per unit.
    scale: int
    #: Largest magnitude of a coordinate that is sent; the rest waits in the residual.
    clip: float
    #: Coordinates per curve point.
    pack: int

    @property
    def level(self) -> int:
        """c = floor(clip * scale + 0.5): the largest |x_j|."""
        return math.floor(self.clip * self.scale + 0.5)


class SupportReference(msgspec.Struct, frozen=True, kw_only=True):
    """Where the round's bitmap of coordinates is; the hash binds it."""

    url: str
    #: keccak256 of the bitmap.
    hash: str


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    taskID: str
    round: int
    dataset: str
    dimension: int
    modelSHA256: str
    aggregatorPublicKey: str
    tpPublicKey: str
    aggregatorURL: str
    publisherURL: str
    miners: list[str]
    minMiners: int
    maxMiners: int
    compression: Compression
    quantization: Quantization
    publishedAt: int
    modelURL: str | None = None
    modelIPFSHash: str | None = None
    architecture: Architecture | None = None
    training: Training = Training()
    support: SupportReference | None = None
    expectedAccuracy: float | None = None
    maxRounds: int = 1
    timeout: int = DEFAULT_TIMEOUT_SECONDS
    parentBlockHash: str | None = None
    signature: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task whose members are well-formed. Its signature is checked by `check_signature`, a miner's floors elsewhere."""

    #: The JSON object as received, unknown members included: what is hashed, stored and passed on.
    document: dict[str, Any]
    #: Digest of kind `task`, `0x` + 64 hex digits.
    task_hash: str
    task_id: str
    round: int
    #: Name of the data set that a miner must hold.
    dataset: str
    #: Number d of floating-point values in the model's state dict.
    dimension: int
    model_url: str | None
    model_ipfs_hash: str | None
    #: SHA-256 of the model file, 32 bytes.
    model_sha256: bytes
    architecture: Architecture | None
    #: Public keys as SEC1 compressed points.
    aggregator_key: bytes
    publisher_key: bytes
    aggregator_address: str
    publisher_address: str
    aggregator_url: str
    publisher_url: str
    #: Addresses that may take part.
    roster: tuple[str, ...]
    min_miners: int
    max_miners: int
    training: Training
    #: Share of coordinates of a wish and of the next support.
    ratio: float
    quantization: Quantization
    support: SupportReference | None
    expected_accuracy: float | None
    max_rounds: int
    #: Unix seconds.
    published_at: int
    #: Seconds after `published_at` at which submissions close.
    timeout: int
    parent_block_hash: str | None

    @property
    def level(self) -> int:
        """c, the largest |x_j|."""
        return self.quantization.level

    @property
    def base(self) -> int:
        """B = 2 * maxMiners * c + 1: a digit that no sum of n miners overflows."""
        return 2 * self.max_miners * self.level + 1

    @property
    def deadline(self) -> int:
        """Unix seconds at which submissions close."""
        return self.published_at + self.timeout

    def groups(self, support_size: int) -> int:
        """G = ceil(k / pack), the curve points of k coordinates (the blinding point not counted)."""
        return -(-support_size // self.quantization.pack)

    def sum_bound(self, participants: int) -> int:
        """The largest |m_g| of a sum of n honest miners: n * c * (B^pack - 1) / (B - 1)."""
        largest_packed: int = self.base**self.quantization.pack - 1
        return participants * self.level * (largest_packed // (self.base - 1))

    def check_signature(self) -> None:
        """Raises BadSignature unless the task is signed by tpPublicKey's owner."""
        check_embedded_signature("task", self.document, self.publisher_address, "the publisher")

    @classmethod
    def decode(cls, data: bytes | str) -> "Task":
        """Reads a task from JSON. Raises Malformed with every reason that docs/protocol.md, section 2 gives."""
        return cls.from_document(read_json(data))

    @classmethod
    def from_document(cls, document: Any) -> "Task":
        """Reads a task from a JSON object (strictly parsed already). Raises Malformed."""
        if not isinstance(document, dict):
            raise Malformed("task: expected a JSON object")
        fields = convert(document, _Fields, "task")
        reasons = list(_problems(fields))
        if reasons:
            raise Malformed(*(f"task: {reason}" for reason in reasons))
        aggregator_key = point33_from_public_key(fields.aggregatorPublicKey, "task: aggregatorPublicKey")
        publisher_key = point33_from_public_key(fields.tpPublicKey, "task: tpPublicKey")
        return cls(
            document=document,
            task_hash="0x" + digest_of("task", document).hex(),
            task_id=fields.taskID,
            round=fields.round,
            dataset=fields.dataset,
            dimension=fields.dimension,
            model_url=fields.modelURL,
            model_ipfs_hash=fields.modelIPFSHash,
            model_sha256=from_hex(fields.modelSHA256, 32, "task: modelSHA256"),
            architecture=fields.architecture,
            aggregator_key=aggregator_key,
            publisher_key=publisher_key,
            aggregator_address=address_of(aggregator_key),
            publisher_address=address_of(publisher_key),
            aggregator_url=fields.aggregatorURL.rstrip("/"),
            publisher_url=fields.publisherURL.rstrip("/"),
            roster=tuple(address_from_text(text, "task: miners") for text in fields.miners),
            min_miners=fields.minMiners,
            max_miners=fields.maxMiners,
            training=fields.training,
            ratio=fields.compression.ratio,
            quantization=fields.quantization,
            support=fields.support,
            expected_accuracy=fields.expectedAccuracy,
            max_rounds=fields.maxRounds,
            published_at=fields.publishedAt,
            timeout=fields.timeout,
            parent_block_hash=fields.parentBlockHash,
        )


def _problems(task: _Fields) -> "list[str]":
    """Everything that is out of range, each as a sentence."""
    quantization = task.quantization
    found = []
    if task.protocol != PROTOCOL:
        found.append(f"protocol is {task.protocol[:40]!r}, expected {PROTOCOL!r}")
    if not _TASK_ID.fullmatch(task.taskID):
        found.append("taskID must match ^[A-Za-z0-9._-]{1,64}$")
    if not 1 <= task.round < 2**31:
        found.append("round must be from 1 to 2^31 - 1")
    if not 1 <= task.dimension < 2**40:
        found.append("dimension must be at least 1")
    if task.modelURL is None and task.modelIPFSHash is None:
        found.append("one of modelURL and modelIPFSHash is needed")
    if not task.dataset or "/" in task.dataset or task.dataset.startswith("."):
        found.append("dataset must be a plain name")
    if not 1 <= task.minMiners <= task.maxMiners:
        found.append("1 <= minMiners <= maxMiners does not hold")
    if len(set(task.miners)) != len(task.miners) or not task.miners:
        found.append("miners must be one or more distinct addresses")
    if not 0 < task.compression.ratio <= 1:
        found.append("compression.ratio must be above 0 and at most 1")
    if task.timeout < 1 or task.maxRounds < 1 or task.publishedAt < 0:
        found.append("timeout, maxRounds and publishedAt must be positive")
    if not 1 <= quantization.scale <= 2**31 or not 0 < quantization.clip < math.inf or quantization.pack < 1:
        found.append("quantization needs scale 1 .. 2^31, clip > 0 and pack >= 1")
        return found
    if not quantization.clip * quantization.scale < 2**40 or quantization.level < 1:
        found.append("quantization: floor(clip * scale + 0.5) must be at least 1 and below 2^40")
        return found
    base = 2 * task.maxMiners * quantization.level + 1
    if quantization.pack > 40 or base**quantization.pack > MAX_PACKED:
        found.append("quantization: (2 * maxMiners * c + 1)^pack is beyond 2^40; use a smaller pack, clip or scale")
    if task.round > 1 and task.parentBlockHash is None:
        found.append("parentBlockHash is needed from round 2 on")
    if task.expectedAccuracy is not None and not 0 <= task.expectedAccuracy <= 1:
        found.append("expectedAccuracy must be from 0 to 1")
    for name, value in (
        ("support.hash", task.support.hash if task.support else None),
        ("parentBlockHash", task.parentBlockHash),
    ):
        if value is not None:
            try:
                from_hex(value, 32, name)
            except Malformed as error:
                found.append(str(error))
    return found
