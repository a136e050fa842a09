"""The manifests against public schemas, and what they promise: the least rights, probes, scaling by what the ledger has due."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from sqlalchemy import text

from deploy.kubernetes.write import BASE, DUE, HEAD, MOST, POOLS, SIGNING, USER, WITH_DATA, files
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from tests.databases import ledger_url as ledger_url
from tests.signed_tasks import MINERS, make_task

OVERLAYS = BASE.parent / "overlays"
KEDA = {"ScaledObject": keda.ScaledObject, "TriggerAuthentication": keda.TriggerAuthentication}


def base() -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return [
        document for name in kustomization["resources"] for document in yaml.safe_load_all((BASE / name).read_text())
    ]


def rendered(overlay: str) -> list[dict[str, Any]]:
    """What kustomize makes of the overlay, as far as these use it: JSON patches by kind and name."""
    kustomization = yaml.safe_load((OVERLAYS / overlay / "kustomization.yaml").read_text())
    assert set(kustomization) <= {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
    documents = base()
    for patch in kustomization.get("patches", []):
        found = [one for one in documents if is_target(one, patch["target"])]
        assert len(found) == 1, patch["target"]
        changed = jsonpatch.JsonPatch(yaml.safe_load(patch["patch"])).apply(found[0])
        documents[documents.index(found[0])] = changed
    return documents


def is_target(document: dict[str, Any], target: dict[str, str]) -> bool:
    return document["kind"] == target["kind"] and document["metadata"]["name"] == target["name"]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def test_the_committed_files_are_what_the_code_says() -> None:
    for name, documents in files().items():
        text_of = HEAD + yaml.safe_dump_all(documents, sort_keys=False, width=120)
        assert (BASE / name).read_text() == text_of, "renew it: python -m deploy.kubernetes.write"


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_every_object_stands_the_public_schemas(overlay: str, version: str) -> None:
    count = 0
    for document in rendered(overlay):
        if document["kind"] not in KEDA:
            kubernetes_validate.validate(document, version, strict=True)
            count += 1
    assert count > 30


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_what_is_for_keda_stands_its_models(overlay: str) -> None:
    kinds = [document["kind"] for document in rendered(overlay) if document["kind"] in KEDA]
    for document in rendered(overlay):
        if document["kind"] in KEDA:
            KEDA[document["kind"]].model_validate(document)
    assert kinds.count("ScaledObject") == len(MOST)


def test_a_wrong_object_would_be_found() -> None:
    document = next(one for one in base() if one["kind"] == "Deployment")
    document["spec"]["replicaz"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_there_is_a_deployment_for_every_pool() -> None:
    assert {f"flfleet-{pool}" for pool in POOLS} <= {name for name, _ in pods(base())}


def test_no_container_has_more_rights_than_it_needs() -> None:
    for name, pod in pods(base()):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["terminationGracePeriodSeconds"] >= 30, name
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


def test_every_process_is_probed() -> None:
    for name, pod in pods(base()):
        (container,) = pod["containers"]
        assert {"livenessProbe", "readinessProbe"} <= set(container), name


def test_passwords_are_mounted_where_something_is_signed_and_data_where_they_are_read() -> None:
    mounted = {
        name.removeprefix("flfleet-"): {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        for name, pod in pods(base())
    }
    assert {name for name, volumes in mounted.items() if "passwords" in volumes} == set(SIGNING)
    assert {name for name, volumes in mounted.items() if "data" in volumes} == set(WITH_DATA)


def test_every_pool_has_a_budget_for_disruptions_and_a_way_to_scale() -> None:
    kinds = {(document["kind"], document["metadata"]["name"]) for document in base()}
    for pool in POOLS:
        assert ("PodDisruptionBudget", f"flfleet-{pool}") in kinds
        assert (("ScaledObject", f"flfleet-{pool}") in kinds) == (pool in MOST)


def test_nothing_comes_in_or_goes_out_unless_a_policy_says_so() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in base() if one["kind"] == "NetworkPolicy"}
    deny = policies["flfleet-deny"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    outward = {
        document["metadata"]["name"]
        for document in base()
        if document["kind"] == "Deployment" and "flfleet/outward" in document["spec"]["template"]["metadata"]["labels"]
    }
    assert outward == {"flfleet-control", "flfleet-fetch", "flfleet-submit", "flfleet-verify"}


def test_the_gpu_overlay_gives_training_a_gpu_and_nothing_else() -> None:
    with_gpu = [
        name for name, pod in pods(rendered("gpu")) if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]
    ]
    assert with_gpu == ["flfleet-train"]


def test_the_user_is_the_image_s() -> None:
    dockerfile = (Path(__file__).parents[2] / "deploy" / "Dockerfile").read_text()
    assert f"USER {USER}:{USER}" in dockerfile


def test_scaling_counts_runs_that_are_queued_and_runs_that_a_worker_has(ledger_url: str) -> None:
    engine = open_database(ledger_url)
    ledger = RunLedger(engine)
    ids = [ledger.add_run(make_task(), miner.address, "ward") for miner in MINERS[:4]]
    states = ["queued", "running", "waiting", "accepted"]
    with engine.begin() as db:
        for run_id, state in zip(ids, states, strict=True):
            values = {"state": state, "run": run_id}
            db.execute(text("UPDATE runs SET state = :state, stage = 'train' WHERE run_id = :run"), values)
        counts = {pool: db.execute(text(DUE.format(pool=pool))).scalar_one() for pool in ("train", "encrypt")}
    assert counts == {"train": 2, "encrypt": 0}
    engine.dispose()
