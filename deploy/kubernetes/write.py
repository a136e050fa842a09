"""Writes deploy/kubernetes/base: a Deployment for each process of a fleet, whole, so that schemas can be held against it.

python -m deploy.kubernetes.write        after a change here; a test says when it was forgotten
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.stages.contract import Stage
from tasks.app import CONTROL, VERIFY

BASE = Path(__file__).parent / "base"
POOLS = (*(stage.value for stage in Stage), CONTROL, VERIFY)
#: Pools that talk to task board, model sources or aggregator; the others reach the stores alone.
OUTWARD = (CONTROL, Stage.FETCH.value, Stage.SUBMIT.value, VERIFY)
#: Pools that read patients' data, and pools that sign.
WITH_DATA = (CONTROL, Stage.DATA.value, Stage.TRAIN.value, VERIFY)
SIGNING = (Stage.SUBMIT.value, VERIFY)
#: Most replicas; control has little to do and is not scaled.
MOST = {"fetch": 4, "data": 4, "train": 8, "compress": 8, "commit": 4, "encrypt": 16, "submit": 4, "verify": 4}
LIMITS = {
    "train": ("4", "16Gi"),
    "data": ("1", "4Gi"),
    "compress": ("1", "4Gi"),
    "encrypt": ("1", "4Gi"),
    "verify": ("1", "4Gi"),
}
USER = 10001
HEAD = "# Written by deploy/kubernetes/write.py: change it there.\n"
#: A run that is due counts, whether a worker has it or not; one that waits for its hour does not.
DUE = "SELECT count(*) FROM runs WHERE stage = '{pool}' AND state IN ('queued', 'running')"


def main() -> None:
    """Writes every file of the base that is made here."""
    for name, documents in files().items():
        (BASE / name).write_text(HEAD + yaml.safe_dump_all(documents, sort_keys=False, width=120))


def files() -> dict[str, list[dict[str, Any]]]:
    """File names to their documents."""
    return {
        "workers.yaml": [worker(pool) for pool in POOLS],
        "beat.yaml": [beat()],
        "pages.yaml": [
            document for name, port in (("flower", 5555), ("fleet-page", 5556)) for document in page(name, port)
        ],
        "scaling.yaml": [keda_login(), *(scaled(pool) for pool in MOST)],
        "disruption.yaml": [disruption(pool) for pool in POOLS],
        "network.yaml": policies(),
    }


def worker(pool: str) -> dict[str, Any]:
    """One pool's Deployment."""
    mounts = {"data": "/fleet/data"} if pool in WITH_DATA else {}
    mounts |= {"passwords": "/fleet/passwords"} if pool in SIGNING else {}
    return deployment(
        pool,
        ["worker", pool],
        role=f"worker:{pool}",
        mounts=mounts,
        limits=LIMITS.get(pool, ("1", "2Gi")),
        outward=pool in OUTWARD,
    )


def beat() -> dict[str, Any]:
    """Beat, which brings the ledger's schema up first. Never two at once, although two would do no harm."""
    made = deployment("beat", ["beat"], role="beat", mounts={}, limits=("500m", "1Gi"), outward=False)
    made["spec"]["strategy"] = {"type": "Recreate"}
    pod = made["spec"]["template"]["spec"]
    upgrade = {
        key: pod["containers"][0][key] for key in ("image", "env", "volumeMounts", "resources", "securityContext")
    }
    pod["initContainers"].append({"name": "upgrade", "args": ["upgrade"], **upgrade})
    return made


def page(name: str, port: int) -> list[dict[str, Any]]:
    """Flower or the fleet page, and a Service for it. Who may come in, network.yaml says."""
    command = ["flower", "--host", "0.0.0.0"] if name == "flower" else ["serve", "fleet", "--host", "0.0.0.0"]  # noqa: S104
    made = deployment(name, command, role=None, mounts={}, limits=("500m", "1Gi"), outward=False)
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": port}]
    container["env"].append({"name": "FLFLEET_PAGE_PASSWORD_FILE", "value": "/run/secrets/flfleet/page_password"})
    path = "/healthcheck" if name == "flower" else "/healthz"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        container[probe] = {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": 5 if probe == "startupProbe" else 20,
            "timeoutSeconds": 5,
            "failureThreshold": 60 if probe == "startupProbe" else 3,
        }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {"selector": labels(name), "ports": [{"name": "http", "port": port, "targetPort": "http"}]},
    }
    return [made, service]


def deployment(
    name: str,
    arguments: Sequence[str],
    *,
    role: str | None,
    mounts: Mapping[str, str],
    limits: tuple[str, str],
    outward: bool,
) -> dict[str, Any]:
    """A process of the fleet: not root, nothing to write but its volumes, probed by its heartbeat."""
    places = {"settings": "/fleet/fleet.toml", "keystores": "/fleet/keys", "addresses": "/run/secrets/flfleet"}
    places |= {"artifacts": "/fleet/artifacts", "cache": "/fleet/cache", "run": "/fleet/run", "scratch": "/tmp"}  # noqa: S108
    places |= mounts
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container: dict[str, Any] = {
        "name": name,
        "image": "flfleet:cpu",
        "args": list(arguments),
        "env": [
            {"name": "FLFLEET_HOME", "value": "/fleet"},
            {"name": "FLFLEET_BROKER_URL_FILE", "value": "/run/secrets/flfleet/broker_url"},
            {"name": "FLFLEET_LEDGER_URL_FILE", "value": "/run/secrets/flfleet/ledger_url"},
        ],
        "volumeMounts": [_mount(volume, path) for volume, path in places.items()],
        "resources": {
            "requests": {"cpu": "100m", "memory": "512Mi"},
            "limits": dict(zip(("cpu", "memory"), limits, strict=True)),
        },
        "securityContext": restricted,
    }
    if role is not None:
        live = {"exec": {"command": ["flfleet", "health", "live", "--role", role]}, "timeoutSeconds": 15}
        container["startupProbe"] = {**live, "periodSeconds": 10, "failureThreshold": 18}
        # The broker away is no reason to restart a worker: only its own loop is.
        container["livenessProbe"] = {**live, "periodSeconds": 30, "failureThreshold": 4}
        ready = {"exec": {"command": ["flfleet", "health", "ready"]}, "timeoutSeconds": 15}
        container["readinessProbe"] = {**ready, "periodSeconds": 30, "failureThreshold": 2}
    # The image's compiled kernels, to begin with.
    warm = {
        "name": "warm",
        "image": "flfleet:cpu",
        "command": ["cp", "-a", "/fleet/cache/.", "/warm/"],
        "volumeMounts": [{"name": "cache", "mountPath": "/warm"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
        "securityContext": restricted,
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # TERM ends a stage softly within 3 s and gives it back to its queue.
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [warm],
        "containers": [container],
        "volumes": [_volume(volume) for volume in places],
    }
    marked = labels(name) | ({"flfleet/outward": "true"} if outward else {})
    spec = {
        "selector": {"matchLabels": labels(name)},
        "revisionHistoryLimit": 3,
        "template": {"metadata": {"labels": marked}, "spec": pod},
    }
    # Where KEDA scales, it alone says how many.
    if name not in MOST:
        spec = {"replicas": 1, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name), "spec": spec}


def scaled(pool: str) -> dict[str, Any]:
    """Replicas by what the ledger has due for the pool: the broker's lists are hints, and a running stage is in none of them."""
    trigger = {
        "type": "postgresql",
        "metadata": {"query": DUE.format(pool=pool), "targetQueryValue": "1", "activationTargetQueryValue": "0"},
        "authenticationRef": {"name": "flfleet-ledger"},
    }
    # Going down ends stages that run; they are requeued, but a minute's dip is not worth it.
    calm = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(pool),
        "spec": {
            "scaleTargetRef": {"name": f"flfleet-{pool}"},
            "minReplicaCount": 1,
            "maxReplicaCount": MOST[pool],
            "pollingInterval": 10,
            "cooldownPeriod": 300,
            "fallback": {"failureThreshold": 3, "replicas": 1},
            "advanced": calm,
            "triggers": [trigger],
        },
    }


def keda_login() -> dict[str, Any]:
    """How KEDA reaches the ledger: a libpq connection string, best of a user that may only read `runs`."""
    reference = {"parameter": "connection", "name": "flfleet-addresses", "key": "keda_connection"}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": metadata("ledger"),
        "spec": {"secretTargetRef": [reference]},
    }


def disruption(pool: str) -> dict[str, Any]:
    """A drained node takes one worker of a pool at a time; a pool of one may go, its work is requeued."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(pool),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(pool)}},
    }


def policies() -> list[dict[str, Any]]:
    """Nothing comes in and nothing goes out, but: names, the stores, the world for pools that need it, people for the pages."""
    fleet = {"app.kubernetes.io/part-of": "flfleet"}
    stores = [
        {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}], "ports": [_tcp(port)]}
        for name, port in (("redis", 6379), ("postgres", 5432))
    ]
    names = {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]}
    # A compromised pool that may speak to the world still may not ask the cloud for its credentials.
    world = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}], "ports": [{"protocol": "TCP"}]}
    people = {
        "from": [{"namespaceSelector": {"matchLabels": {"flfleet/may-look": "true"}}}],
        "ports": [_tcp(5555), _tcp(5556)],
    }
    return [
        policy("deny", fleet, {"policyTypes": ["Ingress", "Egress"]}),
        policy("stores", fleet, {"policyTypes": ["Egress"], "egress": [names, *stores]}),
        policy("outward", {"flfleet/outward": "true"}, {"policyTypes": ["Egress"], "egress": [world]}),
        policy("pages", fleet, {"policyTypes": ["Ingress"], "ingress": [people]}),
    ]


def policy(name: str, chosen: Mapping[str, str], rules: Mapping[str, Any]) -> dict[str, Any]:
    """A NetworkPolicy over the pods with these labels."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {"podSelector": {"matchLabels": dict(chosen)}, **rules},
    }


def labels(name: str) -> dict[str, str]:
    """What selects the pods of one process."""
    return {"app.kubernetes.io/part-of": "flfleet", "app.kubernetes.io/component": name}


def metadata(name: str) -> dict[str, Any]:
    """Name and labels of an object."""
    return {"name": f"flfleet-{name}", "labels": labels(name)}


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _mount(volume: str, path: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": volume, "mountPath": path}
    if volume == "settings":
        made["subPath"] = "fleet.toml"
    return made | ({"readOnly": True} if volume in ("settings", "keystores", "addresses", "passwords", "data") else {})


def _volume(name: str) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {
        "settings": {"configMap": {"name": "flfleet-settings"}},
        "keystores": {"secret": {"secretName": "flfleet-keystores", "defaultMode": 0o440}},
        "passwords": {"secret": {"secretName": "flfleet-passwords", "defaultMode": 0o440}},
        "addresses": {"secret": {"secretName": "flfleet-addresses", "defaultMode": 0o440}},
        "artifacts": {"persistentVolumeClaim": {"claimName": "flfleet-artifacts"}},
        "data": {"persistentVolumeClaim": {"claimName": "flfleet-data", "readOnly": True}},
        "cache": {"emptyDir": {"sizeLimit": "16Gi"}},
        "run": {"emptyDir": {"sizeLimit": "64Mi"}},
        "scratch": {"emptyDir": {"sizeLimit": "1Gi"}},
    }
    return {"name": name, **sources[name]}


if __name__ == "__main__":
    main()
