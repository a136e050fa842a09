"""Every setting: environment (prefix `FLFLEET_`) over `fleet.toml` in the home folder over the defaults here.

The only place that reads the environment. Secrets are files or environment variables, never arguments: `FLFLEET_BROKER_URL_FILE`
names a file that holds what `FLFLEET_BROKER_URL` would, and so for every setting that is a text.
"""

import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline.errors import Misconfigured

#: A list that the environment writes with commas.
CommaList = Annotated[list[str], NoDecode]
DEFAULT_HOME = Path("fleet")
#: Far above any URL or key: whatever is larger is not the file that was meant.
_MAX_FILE_BYTES = 64 * 1024


class MinerSettings(BaseModel):
    """One `[[miner]]` table of fleet.toml: an identity of this fleet. Paths are relative to the home folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="What people call it, in logs and in `flfleet status`")
    key: Path = Field(description="Encrypted keystore JSON (`flfleet keys new` writes one)")
    data: Path = Field(Path("data"), description="Folder that holds one folder per data set")
    password_file: Path | None = Field(
        None, description="File with the keystore's password; none: the key's path with the ending `.password`"
    )


class FileSource(PydanticBaseSettingsSource):
    """Texts and secrets from files that the environment names: `FLFLEET_<NAME>_FILE`, as container engines mount secrets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's content, or None where no file is named."""
        variable = f"{self.config.get('env_prefix', '')}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path is None or not _is_text(field):
            return None, field_name, False
        if variable in os.environ:
            raise Misconfigured(f"{variable} and {variable}_FILE are both set; keep one")
        return _read_secret(path, f"{variable}_FILE"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every setting that a file holds. Raises Misconfigured for a file that cannot be read."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """The settings of one process. Instances are made by `load`, which turns mistakes into `Misconfigured`."""

    model_config = SettingsConfigDict(env_prefix="FLFLEET_", extra="forbid", frozen=True)

    home: Path = Field(DEFAULT_HOME, description="Folder with fleet.toml, keys, data, ledger and artifacts")
    roles: CommaList = Field(
        ["miner"], description="What this home is for: miner, aggregator, publisher, backend (beat's timetable follows)"
    )

    # Where things are
    backend_url: str = Field("http://127.0.0.1:3000", description="The task board that beat polls")
    broker_url: str | None = Field(None, description="Redis or Valkey; none: an embedded Valkey in the home folder")
    broker_ca: Path | None = Field(
        None, description="PEM file of the authorities that may have signed the broker's certificate (rediss://)"
    )
    broker_certificate: Path | None = Field(
        None, description="PEM file with this fleet's own certificate and key, where the broker asks for one"
    )
    ledger_url: str | None = Field(None, description="SQLAlchemy URL of the ledger; none: SQLite in the home folder")
    artifacts_url: str | None = Field(
        None, description="fsspec URL of the artifact store; none: a folder in the home folder"
    )

    # Whom to trust, and below what not to take part (docs/protocol.md, section 2)
    trusted_publishers: CommaList = Field([], description="Publisher addresses whose tasks are run; none: no task runs")
    trusted_aggregators: CommaList = Field(
        [], description="Aggregator addresses that may receive updates; none: no task runs"
    )
    known_miners: CommaList = Field([], description="Addresses of miners known not to collude; none: no task runs")
    min_known_participants: int = Field(3, ge=1, description="Least minMiners - (unknown members of the roster)")
    min_coordinates: int = Field(1024, ge=1, description="Least number of coordinates in a round's support")
    max_submissions_per_model: int = Field(1, ge=1, description="Submissions for one data set over one model")
    allow_unsigned_tasks: bool = Field(False, description="Run tasks without a publisher's signature (tests only)")

    approval: bool = Field(
        False, description="A person approves every task before it trains: flfleet tasks list, approve, refuse"
    )
    privacy_budget: dict[str, float] = Field(
        {},
        description="Most epsilon that the submissions over a data set may spend together, by data set and identity; "
        "`*` for all others. A training that states no epsilon is then not sent",
    )

    # What a block may look like to get a VALID vote (docs/protocol.md, section 8)
    max_dropped_share: float = Field(0.1, ge=0, le=1, description="Largest share of groups that a block may drop")
    max_accuracy_loss: float = Field(
        0.3, ge=0, le=1, description="Largest loss of accuracy on own held-back data that a block may bring"
    )

    # The operator's limits
    max_model_bytes: int = Field(2 * 1024**3, ge=1, description="Largest model file that is fetched")
    max_dimension: int = Field(500_000_000, ge=1, description="Largest number of model parameters")
    max_epochs: int = Field(100, ge=1, description="Most epochs that a task may ask for")
    max_batch_size: int = Field(4096, ge=1, description="Largest batch that a task may ask for")
    max_training_seconds: float = Field(24 * 3600.0, gt=0, description="Longest training")
    stack_parameters: int = Field(
        800_000,
        ge=0,
        description="Parameters, together, of the small models that `flfleet retrain` trains as one program; "
        "models of more than an eighth of it are trained one by one, with 0 all",
    )
    validation_share: float = Field(0.1, ge=0, lt=1, description="Part of the data held back from training")
    max_epsilon: float | None = Field(
        None,
        gt=0,
        description="Largest epsilon that one training may spend; where set, tasks without training.dp are refused",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    training_seed: int | None = Field(None, description="Fixed randomness for tests and the demo; none in production")
    http_timeout_seconds: float = Field(30.0, gt=0, description="Connect and read time-out of every request")
    proxy: SecretStr | None = Field(
        None,
        description="HTTP proxy for requests to other parties, e.g. http://proxy:3128; none: HTTPS_PROXY's, if set",
    )
    no_proxy: CommaList = Field(
        ["127.0.0.1", "::1", "localhost"], description="Hosts, domains and networks that are asked without the proxy"
    )
    ca_bundle: Path | None = Field(
        None, description="PEM file of the certificate authorities to believe in place of the public ones"
    )
    ipfs_api: str | None = Field(None, description="Multiaddress of an IPFS node's RPC")
    ipfs_gateways: CommaList = Field([], description="IPFS gateways, tried in turn")

    # The run
    poll_seconds: float = Field(5.0, gt=0, description="How often beat polls the backend")
    sweep_seconds: float = Field(5.0, gt=0, description="How often beat looks for runs that nobody works on")
    verify_seconds: float = Field(
        5.0, gt=0, description="How often beat looks for blocks to verify and scores to reveal"
    )
    lease_seconds: float = Field(30.0, gt=0, description="How long a claim lives without being renewed")
    max_attempts: int = Field(
        5, ge=1, description="Claims of a stage that may end without a commit before a run is dead"
    )
    stage_seconds: dict[str, float] = Field(
        {},
        description="Seconds after which a stage's process is killed and an attempt counted, by stage; "
        "where not named an hour, for train one more than max_training_seconds",
    )
    min_free_bytes: int = Field(
        1024**3, ge=0, description="Free bytes, in artifact store and cache, below which no stage starts"
    )
    prune_seconds: float = Field(24 * 3600.0, gt=0, description="How often beat removes what nothing needs any more")
    retention_days: float = Field(7.0, ge=0, description="How long the artifacts of ended runs stay")
    opening_retention_days: float = Field(
        30.0,
        ge=0,
        description="How long openings and payloads stay after the last deadline of votes and reveal that a task names",
    )
    curve_kernel: str = Field("auto", description="auto, reference, scalar or ifma")
    curve_threads: int = Field(1, ge=1, description="Threads of one worker process that share a curve job")
    slice_groups: int = Field(
        2**18,
        ge=1,
        description="Groups that an aggregate worker adds up at a time; a larger round is shared by workers",
    )
    cache_dir: Path | None = Field(
        None, description="Folder of compiled kernels and curve tables; none: in the home folder"
    )
    log_file: Path | None = Field(
        None,
        description="File that every process also logs into, opened anew when logrotate has moved it; none: stderr",
    )
    log_max_bytes: int = Field(
        20 * 1024**2, ge=4096, description="Size at which the supervisor of `flfleet up` turns a process's log over"
    )
    log_backups: int = Field(3, ge=0, description="Turned-over logs that it keeps of each process")
    workers: dict[str, int] = Field({}, description="Processes per pool, by stage; 1 where not named")

    # Identities
    miner_private_key: SecretStr | None = Field(None, description="A single identity's secret key in hex")
    miner: list[MinerSettings] = Field([], description="Identities; [[miner]] tables in fleet.toml")

    # What people look at
    page_password: SecretStr | None = Field(
        None,
        description="Password (user `flfleet`) of fleet page, metrics and Flower; none: they answer on loopback only",
    )
    otel_endpoint: str | None = Field(
        None, description="OpenTelemetry collector (OTLP over HTTP) that gets a span for every stage; extra `otel`"
    )
    sentry_dsn: SecretStr | None = Field(
        None, description="Sentry project that gets errors, scrubbed of keys; extra `sentry`"
    )

    # A publisher's, an aggregator's or a backend's own
    party_key: Path | None = Field(None, description="Keystore of this party")
    party_url: str | None = Field(None, description="Address under which others reach this party")
    validation_data: Path | None = Field(None, description="The aggregator's own labelled data, a folder per data set")

    @field_validator(
        "roles", "trusted_publishers", "trusted_aggregators", "known_miners", "ipfs_gateways", "no_proxy", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("trusted_publishers", "trusted_aggregators", "known_miners")
    @classmethod
    def _lower(cls, value: list[str]) -> list[str]:
        return [text.lower() for text in value]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the files it names, then fleet.toml of the home folder."""
        home = init_settings().get("home") or os.environ.get("FLFLEET_HOME") or DEFAULT_HOME
        toml = TomlConfigSettingsSource(settings_cls, toml_file=Path(home) / "fleet.toml")
        return init_settings, env_settings, FileSource(settings_cls), toml

    def path(self, relative: Path | str) -> Path:
        """A path of the settings, relative ones taken from the home folder."""
        return (self.home / relative).absolute()

    @property
    def ledger(self) -> str:
        """The ledger's SQLAlchemy URL."""
        return self.ledger_url or f"sqlite:///{self.path('ledger.sqlite')}"

    @property
    def broker(self) -> str:
        """The broker's URL; the embedded broker writes its own, password included, into the home folder."""
        if self.broker_url:
            return self.broker_url
        try:
            return self.path("broker/url").read_text().strip()
        except OSError:
            return "redis://127.0.0.1:6379/0"

    @property
    def artifacts(self) -> str:
        """The artifact store's fsspec URL."""
        return self.artifacts_url or self.path("artifacts").as_uri()

    @property
    def cache(self) -> Path:
        """Folder of what can be made again: compiled kernels, curve tables, data sets ready for training."""
        return self.path(self.cache_dir or "cache")


def _is_text(field: FieldInfo) -> bool:
    """Whether the setting is one text, secret or not."""
    return bool({str, SecretStr} & {field.annotation, *get_args(field.annotation)})


def _read_secret(path: str, variable: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise Misconfigured(f"{variable}: {path} is larger than {_MAX_FILE_BYTES} bytes")
        return data.decode().strip()
    except OSError as error:
        raise Misconfigured(f"{variable}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{variable}: {path} is not UTF-8 text") from None


def load(home: Path | str | None = None) -> Settings:
    """Reads the settings afresh. Raises Misconfigured, naming each wrong setting."""
    try:
        return Settings() if home is None else Settings(home=Path(home))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        raise Misconfigured(f"settings (environment FLFLEET_... or fleet.toml): {wrong}") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"fleet.toml is not valid TOML: {error}") from None


@lru_cache(maxsize=1)
def current() -> Settings:
    """The process's settings, read once."""
    return load()
