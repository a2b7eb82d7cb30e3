"""The Kubernetes objects fit the schemas, Compose, the alerts and the Helm chart.

kubectl and helm build them; tests that need a missing one are skipped.
"""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate
import pytest
import yaml
from prometheus_client.metrics_core import Metric

from recipes.chart import CHART, KUSTOMIZE, RULES, build, build_with, chart, rules
from tests.support.commands import check_command
from triage.errors import UsageError
from worker.metrics import serve
from worker.settings import load_settings

Object: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[3]
PARTS = {"scoring", "intake", "delivery", "training", "api", "beat", "metrics"}
WORKERS = {"scoring", "intake", "delivery", "training"}
RELEASES = ("1.29", "1.37")
"""The oldest and the newest release of Kubernetes whose schemas the objects must fit."""

VOLUMES = {"name", "persistentVolumeClaim", "emptyDir", "secret"}
"""The keys of volumes; an NFS or a folder of the node is forbidden by `restricted`."""

CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}
FOLDERS = ("overlays/cpu", "overlays/gpu", "overlays/trial", "database")
COMPONENTS = ("monitoring", "gpu", "autoscaling", "object-store", "identity-provider")


def _has_kustomize() -> bool:
    if shutil.which("kubectl") is None:
        return False
    done = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and json.loads(done.stdout).get("kustomizeVersion", "").startswith("v5")


needs_kubectl = pytest.mark.skipif(not _has_kustomize(), reason="kubectl with Kustomize 5 is missing")
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is missing")


@cache
def _built(folder: str) -> list[Object]:
    return build(KUSTOMIZE / folder)


def _of_kind(objects: list[Object], *kinds: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def _pod(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def _containers(workload: Object) -> list[Object]:
    return _containers_of(_pod(workload))


def _containers_of(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def _compose() -> Object:
    services: Object = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return services


def _check_schema(objects: list[Object]) -> None:
    for each in objects:
        for release in RELEASES if each["kind"] not in CUSTOM else ():
            kubernetes_validate.validate(each, release, strict=True)


@needs_kubectl
@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_fit_the_schemas_and_their_containers_have_no_privileges(folder: str) -> None:
    objects = _built(folder)

    _check_schema(objects)
    assert "Secret" not in {each["kind"] for each in objects}
    assert {each["metadata"].get("namespace") for each in objects} == {"triage"}
    for name, workload in _of_kind(objects, "Deployment", "StatefulSet", "Job").items():
        _check_privileges(_pod(workload), name)


def _check_privileges(pod: Object, name: str) -> None:
    """Those of the Pod Security Standard `restricted`, and more."""
    assert not pod["automountServiceAccountToken"], name
    assert pod["securityContext"]["runAsNonRoot"], name
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert {kind for volume in pod["volumes"] for kind in volume} <= VOLUMES, name
    for container in _containers_of(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"].keys() == {"requests", "limits"}, name
        assert "memory" in container["resources"]["limits"], name


def test_loader_alone_writes_into_exchange_and_no_policy_but_that_for_names_selects_it() -> None:
    loader = yaml.safe_load((KUSTOMIZE / "loader.yaml").read_text(encoding="utf-8"))

    _check_schema([loader])
    _check_privileges(loader["spec"], "loader")
    assert loader["spec"]["securityContext"].items() >= {"runAsUser": 10001, "fsGroup": 10001}.items()
    assert loader["metadata"].keys() == {"name", "namespace"}  # without labels
    [container] = loader["spec"]["containers"]
    assert container["volumeMounts"] == [{"name": "exchange", "mountPath": "/srv/triage/exchange"}]
    assert loader["spec"]["volumes"] == [{"name": "exchange", "persistentVolumeClaim": {"claimName": "exchange"}}]
    policies = yaml.safe_load_all((KUSTOMIZE / "base/network.yaml").read_text(encoding="utf-8"))
    selecting_all = {each["metadata"]["name"] for each in policies if not each["spec"]["podSelector"]}
    assert selecting_all == {"default-deny", "names"}


@needs_kubectl
def test_components_build_together_and_fit_the_schemas() -> None:
    objects = build_with(*COMPONENTS)

    _check_schema(objects)
    assert {each["kind"] for each in objects} >= CUSTOM
    scoring = _of_kind(objects, "Deployment")["scoring"]
    [scaled] = _of_kind(objects, "ScaledObject").values()
    assert scaled["spec"]["scaleTargetRef"] == {"name": "scoring"}
    assert "replicas" not in scoring["spec"]  # they would be reset by each `kubectl apply`
    assert _of_kind(objects, "PersistentVolumeClaim").keys() == {"runs", "exchange"}
    assert not {"blobs", "models"} & {volume["name"] for volume in _pod(scoring)["volumes"]}


@needs_kubectl
def test_parts_run_as_in_compose() -> None:
    deployments, services = _of_kind(_built("overlays/cpu"), "Deployment"), _compose()
    settings = _of_kind(_built("overlays/cpu"), "ConfigMap")["triage-settings"]["data"]

    assert deployments.keys() == PARTS
    for name, deployment in deployments.items():
        service, pod, [container] = services[name], _pod(deployment), _containers(deployment)
        fixed = {
            k: str(v) for k, v in service["environment"].items() if k.startswith("TRIAGE_") and "://${" not in str(v)
        }
        fixed = {k: v for k, v in fixed.items() if not v.startswith(("postgresql", "redis"))}
        own = {each["name"]: each["value"] for each in container.get("env", [])}
        assert container["args"] == service["command"], name
        assert f"{pod['terminationGracePeriodSeconds']}s" == service["stop_grace_period"], name
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == service["user"], name
        assert fixed.items() <= (settings | own).items(), name
        role = "triage-report" if name == "metrics" else "triage-worker"
        assert container["envFrom"] == [{"configMapRef": {"name": "triage-settings"}}, {"secretRef": {"name": role}}]
        mounts = {(m["mountPath"], m.get("readOnly", False)) for m in container["volumeMounts"]}
        mounts -= {("/tmp", False), ("/etc/triage/files", True), ("/etc/triage/keys", True)}
        volumes = [
            volume.rsplit(":", 2) if volume.endswith(":ro") else volume.split(":") for volume in service["volumes"]
        ]
        assert mounts == {(parts[1], parts[-1] == "ro") for parts in volumes}, name


@needs_kubectl
def test_only_one_beat_runs_and_workers_on_cards_wait_for_the_card() -> None:
    on_cpu, on_cards = (_of_kind(_built(f"overlays/{name}"), "Deployment") for name in ("cpu", "gpu"))

    assert on_cpu["beat"]["spec"]["replicas"] == 1
    assert on_cpu["beat"]["spec"]["strategy"] == on_cards["training"]["spec"]["strategy"] == {"type": "Recreate"}
    assert on_cards["scoring"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
    assert on_cards["scoring"]["spec"]["replicas"] == 1
    services = _compose()
    for name in PARTS:
        [container] = _containers(on_cards[name])
        is_on_card = name in {"scoring", "training"}
        assert (container["resources"]["limits"].get("nvidia.com/gpu") == 1) == is_on_card
        assert container["image"].endswith("-cuda" if is_on_card else "-cpu")
        for variable in container.get("env", []) if is_on_card else ():
            assert services[f"{name}-gpu"]["environment"][variable["name"]] == variable["value"] == "cuda"


@needs_kubectl
def test_each_container_gets_the_secret_of_its_role_alone() -> None:
    [job] = _of_kind(_built("database"), "Job").values()

    secrets = {tuple(each["args"]): each["envFrom"] for each in _containers(job)}
    assert secrets == {
        ("db", "roles"): [{"secretRef": {"name": "triage-superuser"}}],
        ("db", "upgrade"): [{"secretRef": {"name": "triage-migrator"}}],
    }
    assert [each["name"] for each in _pod(job)["initContainers"]] == ["roles"]


@needs_kubectl
def test_files_are_optional_and_the_key_for_the_ehr_is_in_delivery_alone() -> None:
    mounted = {}
    for name, workload in _of_kind([*_built("overlays/cpu"), *_built("database")], "Deployment", "Job").items():
        secrets = {each["name"]: each["secret"] for each in _pod(workload)["volumes"] if "secret" in each}
        assert all(secret["optional"] for secret in secrets.values()), name
        for container in _containers(workload):
            mounts = {each["name"]: each for each in container["volumeMounts"] if each["name"] in secrets}
            assert all(mount["readOnly"] for mount in mounts.values()), name
            mounted[name] = {secrets[key]["secretName"]: mount["mountPath"] for key, mount in mounts.items()}

    files, keys = {"triage-files": "/etc/triage/files"}, {"triage-keys": "/etc/triage/keys"}
    assert mounted == {name: files | (keys if name == "delivery" else {}) for name in (*PARTS, "database")}


@pytest.mark.parametrize("number", range(4))
def test_placeholders_of_the_secrets_are_refused(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = list(yaml.safe_load_all((KUSTOMIZE / "secrets.example.yaml").read_text(encoding="utf-8")))
    for name, value in secrets[number]["stringData"].items():
        monkeypatch.setenv(name, value)

    with pytest.raises(UsageError, match="TRIAGE_DATABASE__URL"):
        load_settings()
    assert [each["metadata"]["name"] for each in secrets] == [
        *("triage-worker", "triage-report", "triage-migrator", "triage-superuser", "triage-services"),
        *("triage-files", "triage-keys"),
    ]
    for each in secrets[:4]:
        query = each["stringData"]["TRIAGE_DATABASE__URL"].partition("?")[2]
        assert query == "sslmode=verify-full&sslrootcert=/etc/triage/files/ca.crt"
        assert "ca.crt" in secrets[5]["stringData"]
    passwords = {name: value for each in secrets for name, value in each["stringData"].items() if "PASSWORD" in name}
    assert len(passwords) == 5
    assert set(passwords.values()) == {""}  # an error in the settings, and for Postgres


@needs_kubectl
def test_probes_run_existing_commands_and_paths() -> None:
    paths = json.loads((ROOT / "docs/schemas/openapi.json").read_text(encoding="utf-8"))["paths"]

    for name, deployment in _of_kind(_built("overlays/cpu"), "Deployment").items():
        [container] = _containers(deployment)
        probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
        check_command(container["args"])
        if name == "api":
            assert [probe["httpGet"]["path"] for probe in probes] == ["/livez", "/livez", "/readyz"]
            assert {"/livez", "/readyz"} <= set(paths)
        elif name != "metrics":
            commands = [probe["exec"]["command"] for probe in probes]
            for command in commands:
                assert command[:3] == ["triage", "health", "--self"]
                check_command(command[1:])
            assert ["--ready" in command for command in commands] == [False, False, True]


def test_liveness_of_the_exporter_reads_no_database() -> None:
    """Its probe is `/favicon.ico`."""

    class _Unavailable:
        def collect(self) -> Iterator[Metric]:
            raise AssertionError("the database was read")

    port = serve("127.0.0.1", 0, _Unavailable())

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/favicon.ico") as answer:
        assert answer.status == 200


def test_alerts_and_scraped_jobs_are_those_of_prometheus() -> None:
    monitors = yaml.safe_load_all((RULES.parent / "monitors.yaml").read_text(encoding="utf-8"))
    jobs = {
        each["job_name"]
        for each in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    relabelled = {}
    for monitor in monitors:
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        targets = {each["targetLabel"]: each for each in endpoint["relabelings"]}
        relabelled[targets["job"]["replacement"]] = targets
        if "part" in targets:
            assert targets["part"]["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
            assert set(monitor["spec"]["selector"]["matchExpressions"][0]["values"]) == WORKERS

    assert RULES.read_text(encoding="utf-8") == rules(), "run make chart"
    assert relabelled.keys() == jobs == {"triage", "triage-workers"}
    assert "part" in relabelled["triage-workers"]


@needs_kubectl
def test_everything_is_denied_but_what_policies_name() -> None:
    base, with_provider = _built("overlays/cpu"), build_with("identity-provider")

    assert _of_kind(base, "NetworkPolicy")["default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    assert _parts_with_a_way_out(base) == ["delivery"]
    assert sorted(_parts_with_a_way_out(with_provider)) == ["api", "delivery"]


def _parts_with_a_way_out(objects: list[Object]) -> list[str]:
    return [
        policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component", "all")
        for policy in _of_kind(objects, "NetworkPolicy").values()
        for rule in policy["spec"].get("egress", [])
        for peer in rule.get("to", [{}])
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]


@needs_kubectl
def test_chart_is_written_from_the_objects() -> None:
    written = {path.relative_to(CHART).as_posix(): path.read_text(encoding="utf-8") for path in CHART.rglob("*.yaml")}

    assert written == chart(), "run make chart"


def test_claims_outlive_the_release_of_the_chart() -> None:
    claims = list((CHART / "templates").glob("persistentvolumeclaim-*.yaml"))

    assert len(claims) == 4
    for claim in claims:
        assert "annotations:\n    helm.sh/resource-policy: keep\n" in claim.read_text(encoding="utf-8")


@needs_kubectl
@needs_helm
@pytest.mark.parametrize(
    ("components", "options"),
    [
        ((), ()),
        (("gpu",), ("--values", f"{CHART}/values-gpu.yaml")),
        (("gpu", "autoscaling"), ("--values", f"{CHART}/values-gpu.yaml", "--set", "autoscaling.enabled=true")),
        (("object-store",), ("--values", f"{CHART}/values-object-store.yaml")),
        (("monitoring", "identity-provider"), ("--set", "monitoring=true,identityProvider=true")),
    ],
    ids=["cpu", "gpu", "gpu and autoscaling", "object store", "monitoring and identity provider"],
)
def test_chart_renders_the_objects_of_the_components(components: tuple[str, ...], options: tuple[str, ...]) -> None:
    assert _comparable(_rendered(*options)) == _comparable([*build_with(*components), *_built("database")])


@needs_helm
def test_values_of_the_page_reach_the_objects_of_the_chart(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations/kubernetes.md").read_text(encoding="utf-8")
    [block] = re.findall(r"`site\.yaml`:\n\n```yaml\n(.+?)```", page, re.DOTALL)
    site = yaml.safe_load(block)
    (tmp_path / "site.yaml").write_text(block, encoding="utf-8")

    objects = _rendered("--values", f"{CHART}/values-gpu.yaml", "--values", str(tmp_path / "site.yaml"))

    _check_schema(objects)
    pods = {name: _pod(each) for name, each in _of_kind(objects, "Deployment", "Job").items()}
    assert pods.keys() == {*PARTS, "database"}
    for name, pod in pods.items():
        _check_privileges(pod, name)
        assert pod["imagePullSecrets"] == site["pods"]["imagePullSecrets"]
        assert pod["volumes"][-1:] == site["pods"]["volumes"]
        for container in _containers_of(pod):
            assert container["volumeMounts"][-1:] == site["pods"]["volumeMounts"]
            assert container["image"] == site["parts"].get(name, site["pods"])["image"]
    scoring = site["parts"]["scoring"]
    assert {name for name, pod in pods.items() if "runtimeClassName" in pod or "nodeSelector" in pod} == {"scoring"}
    assert pods["scoring"]["nodeSelector"] == scoring["nodeSelector"]
    [scaled] = _of_kind(objects, "ScaledObject").values()
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (1, 4)
    assert scaled["spec"]["fallback"]["replicas"] == 1
    assert scaled["spec"]["triggers"][0]["metadata"]["serverAddress"] == site["autoscaling"]["prometheus"]
    assert "replicas" not in _of_kind(objects, "Deployment")["scoring"]["spec"]
    assert _of_kind(objects, "NetworkPolicy")["delivery"]["spec"]["egress"] == site["network"]["delivery"]


def _rendered(*options: str) -> list[Object]:
    command = ["helm", "template", "triage", str(CHART), "--namespace", "triage", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def _comparable(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """The objects by kind and name, without namespace, and without hooks and images, which an overlay sets."""
    compared = {}
    for each in json.loads(json.dumps(objects)):
        metadata = each["metadata"]
        metadata.pop("namespace", None)
        metadata.pop("annotations", None)
        for container in _containers(each) if "template" in each.get("spec", {}) else ():
            container["image"] = container["image"].rpartition("-")[2]
        compared[each["kind"], metadata["name"]] = each
    return compared
