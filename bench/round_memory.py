"""What each process of a round holds in memory, per coordinate: a whole round over real services, every step a process of its own.

python -m bench.round_memory [DIMENSION ...] [--cache DIR]

`anonymous` is what a process allocated (sampled from /proc); `resident` also counts files that it maps (getrusage). Both are
less what a process holds that does the same on a round of a thousandth of the size.
"""

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.aggregation.aggregator import closing, verification
from pipeline.aggregation.aggregator.context import open_desk
from pipeline.aggregation.aggregator.slicing import Unfinished
from pipeline.aggregation.inspection import inspect
from pipeline.aggregation.publisher import issuing
from pipeline.aggregation.publisher.context import open_publisher_desk
from pipeline.curve.select import kernel
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.packing import pack
from pipeline.parties.blocks import fetch_state
from pipeline.protocol.encodings import PROTOCOL, keccak256, sha256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Architecture, Task
from pipeline.settings import Settings, load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.keys import write_keystore

MINERS = 3
DIMENSIONS = (1_000_000, 10_000_000)
#: A tenth of a percent of the coordinates: what a process holds at this size is not the dimension's.
_SMALL = 1000
_CLASSES = 10
_SERVICES = ("backend", "publisher", "aggregator")
_TASK = "bench-memory"
_SAMPLE_SECONDS = 0.005
#: Seconds that a step waits for what another one sends it.
_PATIENCE = 300


def _key(name: str) -> SecretKey:
    """Fixed: a bench has nothing to hide."""
    return SecretKey(sha256(b"flfleet memory bench\n" + name.encode()))


def _model(dimension: int) -> tuple[bytes, Architecture]:
    """A linear network of `dimension` weights and biases."""
    import torch

    from pipeline.learning.models.architectures import build
    from pipeline.learning.models.model_file import write_model

    features = dimension // _CLASSES - 1
    architecture = Architecture(name="linear", kwargs={"in_features": features, "num_classes": _CLASSES})
    torch.manual_seed(3)
    return write_model(build(architecture).state_dict(), architecture), architecture


def prepare(folder: Path, dimension: int) -> None:
    """Homes, a signed task that both parties have, one submission a miner as a file, and a miner's home."""
    ports = json.loads((folder / "ports.json").read_text())
    publisher, aggregator = _key("publisher"), _key("aggregator")
    for name in (*_SERVICES, "miner"):
        home = folder / name
        home.mkdir()
        lines = [
            f'backend_url = "{ports["backend"]}"',
            f'party_url = "{ports.get(name, "")}"',
            f'trusted_publishers = ["{publisher.address}"]',
            f'trusted_aggregators = ["{aggregator.address}"]',
            'broker_url = "memory://"',
            f"cache_dir = {json.dumps(str(folder / 'cache' / name))}",
        ]
        if name in ("publisher", "aggregator"):
            write_keystore(home / "key.json", _key(name))
            lines.append('party_key = "key.json"')
        (home / "fleet.toml").write_text("\n".join(lines) + "\n")
    model, architecture = _model(dimension)
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "taskID": _TASK,
        "round": 1,
        "dataset": "bench",
        "dimension": dimension,
        "modelURL": f"{ports['backend']}/models/{sha256(model).hex()}",
        "modelSHA256": to_hex(sha256(model)),
        "architecture": {"name": architecture.name, "kwargs": architecture.kwargs},
        "aggregatorPublicKey": aggregator.public_key,
        "tpPublicKey": publisher.public_key,
        "aggregatorURL": ports["aggregator"],
        "publisherURL": ports["publisher"],
        "miners": [_key(f"miner {place}").address for place in range(MINERS)],
        "minMiners": MINERS,
        "maxMiners": MINERS,
        "compression": {"ratio": 0.1},
        "quantization": {"scale": 50, "clip": 0.06, "pack": 1},
        "maxRounds": 1,
        "timeout": 3600,
        "publishedAt": int(time.time()),
    }
    task = Task.from_document(document | {"signature": publisher.sign("task", document)})
    desk, other = open_desk(load(folder / "aggregator")), open_publisher_desk(load(folder / "publisher"))
    digest = desk.artifacts.put(model)
    desk.rounds.adopt(task, model=digest, support=None, coordinates=dimension)
    plan = {name: value for name, value in document.items() if name != "publishedAt"}
    other.plans.add(plan, model=digest, ratios=None, stop_at_expected=True)
    claimed = other.plans.claim(_TASK)
    assert claimed is not None
    other.plans.sign(claimed, task, model=digest, support=None)
    ArtifactStore(str(folder / "miner" / "artifacts"), folder / "scratch").put(model)
    (folder / "task.json").write_text(json.dumps(task.document))
    random = np.random.default_rng(1)
    for place in range(MINERS):
        miner, values = _key(f"miner {place}"), random.integers(-3, 4, dimension)
        wish = np.packbits(random.random(dimension) < 0.05, bitorder="little").tobytes()
        made = encrypt(
            kernel("auto", folder / "cache" / "aggregator"),
            task,
            miner.point33,
            pack(values, task.base, task.quantization.pack),
            score_commit=keccak256(b"score"),
            wish=wish,
            randomness=Randomness.fresh(),
        )
        header = Header.from_document(made.header)
        signature = miner.sign("submission", made.header)
        one = Submission(header=header, signature=signature, ciphertext=made.ciphertext, wish=wish)
        (folder / f"submission-{place}").write_bytes(one.encode())


def step(folder: Path, name: str) -> None:
    """One step of the round, in a process of its own; prints what it held."""
    settings = load(folder / ("publisher" if name == "issue_key" else "miner" if name == "audit" else "aggregator"))
    peak = Anonymous()
    _steps(folder, settings)[name]()
    print(
        json.dumps({"anonymous": peak.bytes(), "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
    )


def _steps(folder: Path, settings: Settings) -> dict[str, Callable[[], object]]:
    task = Task.decode((folder / "task.json").read_text())

    def verify() -> None:
        desk, end = open_desk(settings), time.monotonic() + _PATIENCE
        while len(desk.submissions.accepted(_TASK, 1)) < MINERS and time.monotonic() < end:
            for stored in desk.submissions.pending():
                verification.verify(desk, stored.id)
            time.sleep(0.05)

    def close(name: str) -> None:
        desk = open_desk(settings)
        lease = desk.rounds.claim(_TASK, 1)
        found = desk.rounds.find(_TASK, 1)
        assert lease is not None
        assert found is not None
        one = closing.Closing(desk, lease, found)
        if name == "measure":
            one.advance(accuracy=0.5)  # torch's, and of the data
        else:
            assert closing.next_step(one).__name__ == name, closing.next_step(one)
            try:
                closing.next_step(one)(one)
            except Unfinished:
                desk.rounds.release(lease)
                return
        desk.rounds.release(lease)

    def slices() -> None:
        from pipeline.aggregation.aggregator import slicing

        desk = open_desk(settings)
        for one in range(100):
            if slicing.add_slice(desk, _TASK, 1, one):
                return

    def issue() -> None:
        desk, end = open_publisher_desk(settings), time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            for request_hash in desk.issued.pending():
                issuing.issue(desk, request_hash)
                return
            time.sleep(0.05)

    def audit() -> None:
        state = fetch_state(task.aggregator_url, _TASK, 30).of(1)
        assert state is not None
        assert state.blockHash is not None
        store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
        used = kernel(settings.curve_kernel, settings.cache)
        found = inspect(task, state.blockHash, {}, store, settings, used, now=time.time())
        assert not found.reasons, found.reasons

    return {
        "verify": verify,
        **{name: lambda name=name: close(name) for name in ("ask", "receive_key", "add_up", "join")},  # type: ignore[misc]
        **{name: lambda name=name: close(name) for name in ("renew_model", "measure", "upload", "form")},  # type: ignore[misc]
        "join": lambda: close("add_up"),
        "slices": slices,
        "issue_key": issue,
        "audit": audit,
    }


class Anonymous:
    """The most anonymous memory of this process, sampled."""

    def __init__(self) -> None:
        self._most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def bytes(self) -> int:
        return max(self._most, _status(os.getpid(), "RssAnon"))

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, _status(os.getpid(), "RssAnon"))
            time.sleep(_SAMPLE_SECONDS)


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(name + ":"))


class Service:
    """One of the three, watched from outside."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        self.name, self._most = name, 0
        port = url.rpartition(":")[2]
        command = [sys.executable, "-m", "uvicorn", "--factory", f"network.{name}:create_app", "--port", port]
        environment = os.environ | {"FLFLEET_HOME": str(folder / name)}
        self._process = subprocess.Popen([*command, "--log-level", "error"], env=environment)
        threading.Thread(target=self._watch, daemon=True).start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", int(port))) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{name} did not start")

    def stop(self) -> dict[str, int]:
        found = {"anonymous": self._most, "resident": _status(self._process.pid, "VmHWM")}
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        return found

    def _watch(self) -> None:
        while self._process.poll() is None:
            try:
                self._most = max(self._most, _status(self._process.pid, "RssAnon"))
            except (OSError, StopIteration):
                return
            time.sleep(_SAMPLE_SECONDS)


def measured(dimension: int, cache: Path) -> dict[str, dict[str, int]]:
    """Bytes by process: the three services and every step."""
    with tempfile.TemporaryDirectory(prefix="flfleet-memory-") as own, ExitStack() as stack:
        folder = Path(own)
        (folder / "cache").mkdir()
        for name in ("aggregator", "publisher", "miner", "backend"):
            (folder / "cache" / name).mkdir()
            for part in cache.iterdir():
                (folder / "cache" / name / part.name).symlink_to(part)
        ports = {name: f"http://127.0.0.1:{_free_port()}" for name in _SERVICES}
        (folder / "ports.json").write_text(json.dumps(ports))
        _run("prepare", str(folder), str(dimension))
        services = [Service(folder, name, ports[name]) for name in _SERVICES]
        found: dict[str, dict[str, int]] = {}
        try:
            verify = stack.enter_context(_started("step", str(folder), "verify"))
            _send(folder, ports["aggregator"])
            found["verify"] = json.loads(verify.communicate()[0])
            found["ask"] = _step(folder, "ask")
            issue = stack.enter_context(_started("step", str(folder), "issue_key"))
            found["receive_key"] = _step(folder, "receive_key")
            found["issue_key"] = json.loads(issue.communicate()[0])
            found["add_up"] = _step(folder, "add_up")
            if dimension > load(folder / "aggregator").slice_groups:
                found["slices"] = _step(folder, "slices")
                found["join"] = _step(folder, "join")
            found["renew_model"] = _step(folder, "renew_model")
            _step(folder, "measure")
            found["upload"] = _step(folder, "upload")
            found["form"] = _step(folder, "form")
            found["audit"] = _step(folder, "audit")
        finally:
            found |= {f"service {one.name}": one.stop() for one in services}
        return found


def _send(folder: Path, url: str) -> None:
    import requests

    for place in range(MINERS):
        status = 503  # while it is verified
        while status == 503:
            with (folder / f"submission-{place}").open("rb") as body:
                headers = {"Content-Type": "application/msgpack"}
                answer = requests.post(f"{url}/aggregator/submit-update", data=body, headers=headers, timeout=_PATIENCE)
            status = answer.status_code
        assert status == 202, answer.text


def _started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "bench.round_memory", *arguments], stdout=subprocess.PIPE, text=True)


def _run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "bench.round_memory", *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _step(folder: Path, name: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(_run("step", str(folder), name).splitlines()[-1])
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]), int(sys.argv[3]))
        return
    if sys.argv[1:2] == ["step"]:
        step(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser(prog="python -m bench.round_memory", description=__doc__)
    parser.add_argument("dimensions", nargs="*", type=int, default=list(DIMENSIONS))
    parser.add_argument("--cache", type=Path, required=True, help="folder of compiled kernels (`flfleet warmup`)")
    options = parser.parse_args()
    for dimension in options.dimensions:
        print(json.dumps({dimension: measured(dimension, options.cache.resolve())}), flush=True)


if __name__ == "__main__":
    main()
