"""Publishing over real HTTP: the backend's service behind a port, the publisher's home on disk, the command as it is typed."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import Result
from typer.testing import CliRunner

from cli.console import Exit
from cli.consortium import Consortium, Party, write_consortium
from cli.main import app
from pipeline.errors import FleetError, Retryable
from pipeline.learning.models.model_file import write_model
from pipeline.protocol.encodings import sha256, to_hex
from pipeline.protocol.task import Architecture, Task
from tests.federation import Federation
from tests.federation import federation as federation
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER

NETWORK = ("--architecture", "linear", "--keyword", "in_features=12", "--keyword", "num_classes=3")


def party(federation: Federation, name: str, key: Any) -> Party:
    return Party(address=key.address, public_key=key.public_key, url=federation.urls[name])


@pytest.fixture
def network(federation: Federation) -> Federation:
    """A federation with its consortium.json beside the homes; its backend listens."""
    write_consortium(
        federation.folder / "consortium.json",
        Consortium(
            backend=federation.urls["backend"],
            publisher=party(federation, "publisher", PUBLISHER),
            aggregator=party(federation, "aggregator", AGGREGATOR),
            miners=[miner.address for miner in MINERS[:3]],
        ),
    )
    with federation.serving("backend"):
        yield federation


def publish(network: Federation, *arguments: str, task: str = "xray-1", model: tuple[str, ...] = NETWORK) -> Result:
    home = str(network.folder / "publisher")
    return CliRunner().invoke(app, ["publish", task, "--home", home, "--dataset", "digits", *model, *arguments])


def refusal(result: Result) -> str:
    assert isinstance(result.exception, FleetError), result.output
    return str(result.exception)


def on_board(network: Federation, task: str = "xray-1") -> Task:
    answer = requests.get(f"{network.urls['backend']}/tasks/{task}", timeout=5)
    assert answer.status_code == 200, answer.text
    found = Task.decode(answer.text)
    found.check_signature()
    return found


def test_a_task_is_on_the_board_signed_with_its_model(network: Federation) -> None:
    result = publish(network, "--json", "--rounds", "4", "--expected-accuracy", "0.9")
    assert result.exit_code == Exit.OK, result.output
    task, report = on_board(network), json.loads(result.stdout)
    assert report["taskHash"] == task.task_hash
    assert (task.publisher_address, task.aggregator_address) == (PUBLISHER.address, AGGREGATOR.address)
    assert task.roster == tuple(miner.address for miner in MINERS[:3])
    assert (task.max_rounds, task.expected_accuracy, task.dimension) == (4, 0.9, 39)
    model = requests.get(task.model_url or "", timeout=5).content
    assert sha256(model) == task.model_sha256


def test_the_plan_says_what_each_round_sends_and_a_tasks_ratio_sizes_the_next_one(network: Federation) -> None:
    publish(network, "--plan", "1.0, 0.3, then 0.1")
    plan = network.publisher.plans.find("xray-1")
    assert plan is not None
    assert [plan.ratio(number) for number in (1, 2, 3, 9)] == [0.3, 0.1, 0.1, 0.1]
    assert on_board(network).ratio == 0.3
    assert on_board(network).support is None


def test_without_an_expected_accuracy_the_plan_goes_on_to_its_last_round(network: Federation) -> None:
    publish(network)
    plan = network.publisher.plans.find("xray-1")
    assert plan is not None
    assert not plan.stop_at_expected


def test_the_same_twice_is_one_task_and_another_under_its_name_is_refused(network: Federation) -> None:
    publish(network)
    first = on_board(network).task_hash
    assert publish(network).exit_code == Exit.OK
    assert on_board(network).task_hash == first
    assert "choose another taskID" in refusal(publish(network, "--rounds", "7"))


def test_a_dry_run_shows_the_document_and_keeps_nothing(network: Federation) -> None:
    result = publish(network, "--dry-run", "--recipe", "epochs=2", "--recipe", "classWeights=balanced")
    document = json.loads(result.stdout)
    assert document["training"] == {
        "epochs": 2,
        "batchSize": 16,
        "optimizer": "sgd",
        "learningRate": 0.1,
        "classWeights": "balanced",
    }
    assert "signature" not in document
    assert network.publisher.plans.all() == []
    assert requests.get(f"{network.urls['backend']}/tasks/xray-1", timeout=5).status_code == 404


def test_a_checkpoint_becomes_the_first_model(network: Federation, tmp_path: Path) -> None:
    import torch

    state = {"fc.weight": torch.arange(36.0).reshape(3, 12), "fc.bias": torch.zeros(3)}
    torch.save(state, tmp_path / "weights.pt")
    publish(network, "--checkpoint", str(tmp_path / "weights.pt"), model=())
    expected = write_model(state, Architecture(name="linear", kwargs={"in_features": 12, "num_classes": 3}))
    assert to_hex(on_board(network).model_sha256) == to_hex(sha256(expected))


def test_a_pilot_proposes_scale_and_clip_from_one_local_round_and_says_why(network: Federation) -> None:
    result = publish(network, "--pilot", str(network.folder / "validation"), "--json")
    assert result.exit_code == Exit.OK, result.output
    pilot, task = json.loads(result.stdout)["pilot"], on_board(network)
    assert (task.quantization.scale, task.quantization.clip) == (pilot["scale"], pilot["clip"])
    assert task.level == 3
    assert pilot["plateau"][0] <= pilot["clip"] <= pilot["plateau"][1]
    assert 0 < pilot["error"] < 1
    assert "weights moved by" in result.stderr
    assert f"scale {pilot['scale']}" in result.stderr


def test_a_small_support_is_named_before_every_miner_refuses_it(network: Federation) -> None:
    assert "FLFLEET_MIN_COORDINATES" in publish(network, "--dry-run").stderr


def test_a_roster_file_replaces_the_consortiums_miners(network: Federation, tmp_path: Path) -> None:
    roster = tmp_path / "roster"
    roster.write_text("\n".join(miner.address for miner in MINERS))
    publish(network, "--roster", str(roster))
    assert len(on_board(network).roster) == on_board(network).max_miners == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan", "0.1"), "round 1 sends all coordinates"),
        (("--plan", "1.0, then 1.5"), "no share above 0"),
        (("--pack", "many"), "expected auto or a number"),
        (("--pack", "12"), "use a smaller pack"),
        (("--recipe", "epoch=5"), "epoch unknown; a training has:"),
        (("--recipe", "optimizer=lion"), "optimizer 'lion' is unknown"),
        (("--recipe", "epochs"), "expected NAME=VALUE"),
        (("--recipe", "epochs=1", "--recipe", "epochs=2"), "given twice"),
        (("--keyword", "layers=3"), "'layers' is no argument of linear"),
        (("--checkpoint", "nowhere.pt"), "no such file"),
        (("--min-miners", "4"), "minMiners <= maxMiners"),
        (("--pilot", "nowhere"), "no folder"),
        (("--pilot", ".", "--clip", "0.1"), "leave --scale and --clip out"),
    ],
)
def test_what_cannot_be_published_is_refused_with_what_to_do(
    network: Federation, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refusal(publish(network, *arguments))
    assert network.publisher.plans.all() == []


def test_a_home_that_is_no_publishers_is_named(network: Federation) -> None:
    arguments = ["publish", "a", "--home", str(network.folder / "aggregator"), "--dataset", "digits", *NETWORK]
    assert "is no publisher's home" in refusal(CliRunner().invoke(app, arguments))


def test_a_consortium_with_another_publisher_is_refused(network: Federation) -> None:
    path = network.folder / "consortium.json"
    document = json.loads(path.read_text())
    document["publisher"] |= {"address": AGGREGATOR.address, "publicKey": AGGREGATOR.public_key}
    path.write_text(json.dumps(document))
    assert "this home's key is" in refusal(publish(network))


def test_a_backend_that_does_not_trust_the_publisher_is_quoted(network: Federation) -> None:
    home = network.folder / "backend" / "fleet.toml"
    home.write_text(home.read_text().replace(PUBLISHER.address, MINERS[0].address))
    with network.serving("backend"):
        message = refusal(publish(network))
    assert "TRUSTED_PUBLISHERS" in message


def test_a_backend_that_is_away_leaves_the_plan_to_the_publishers_worker(network: Federation) -> None:
    network.doors["backend"].behind = None
    assert isinstance(publish(network).exception, Retryable)
    with network.serving("backend"):
        with pytest.raises(Retryable):  # the aggregator is away too: the look at it ends the step
            network.publish()
        assert on_board(network).task_id == "xray-1"
