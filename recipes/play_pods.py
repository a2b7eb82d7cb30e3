"""Runs the pods of deploy/kubernetes/overlays/trial with podman, without a cluster, and scores a photo in them.

.venv/bin/python -m recipes.play_pods

Needs root, kubectl with Kustomize 5, podman with its network plugin, and the images of the overlay. The containers,
their users, read-only file systems, volumes, commands and probes are those of the cluster. Podman has no Services and
network policies, and probes only with systemd: names become entries of /etc/hosts, Secrets become variables, optional
Secrets are absent, and this program runs the probes.
"""

import io
import json
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from recipes.chart import KUSTOMIZE, build
from triage.samples.drawing import draw_skin_photo

Object: TypeAlias = dict[str, Any]

_NAME: Final = "triage-play"
"""The network, and the start of the names of all pods and volumes."""

_PHOTO: Final = "/srv/triage/exchange/incoming/photo.jpg"
_WAIT_SECONDS: Final = 300
_SERVICES: Final = ("postgres", "redis")


def main() -> None:
    """Starts the pods in their order, runs their probes, scores a photo, and removes everything."""
    objects = [*build(KUSTOMIZE / "overlays/trial"), *build(KUSTOMIZE / "database")]
    workloads = {
        each["metadata"]["name"]: each for each in objects if each["kind"] in {"Deployment", "StatefulSet", "Job"}
    }
    sources = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    sources |= _secrets()
    with _network():
        addresses: dict[str, str] = {}
        for name in _SERVICES:
            _play(name, workloads[name], sources, addresses)
            addresses[name] = _address(name)
            _probe(name, workloads[name], "readinessProbe")
        _play("database", workloads["database"], sources, addresses)
        _finish("database")
        pod = yaml.safe_load((KUSTOMIZE / "loader.yaml").read_text(encoding="utf-8"))
        _play("loader", {"spec": {"template": pod}}, sources, {})
        parts = [name for name in workloads if name not in {*_SERVICES, "database"}]
        for name in parts:
            _play(name, workloads[name], sources, addresses)
        for name in parts:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                _probe(name, workloads[name], kind)
        _score_a_photo()


def _secrets() -> dict[str, dict[str, str]]:
    """The Secrets of `secrets.example.yaml`, with passwords of this run."""
    passwords = {role: secrets.token_hex(16) for role in ("triage", "migrator", "worker", "report", "redis")}

    def database(user: str, role: str) -> str:
        return f"postgresql+psycopg://{user}:{passwords[role]}@postgres:5432/triage?sslmode=disable"

    redis = f"redis://:{passwords['redis']}@redis:6379/0"
    return {
        "triage-worker": {"TRIAGE_DATABASE__URL": database("triage_worker", "worker"), "TRIAGE_REDIS__URL": redis},
        "triage-report": {"TRIAGE_DATABASE__URL": database("triage_report", "report"), "TRIAGE_REDIS__URL": redis},
        "triage-migrator": {"TRIAGE_DATABASE__URL": database("triage_migrator", "migrator")},
        "triage-superuser": {
            "TRIAGE_DATABASE__URL": database("triage", "triage"),
            **{f"TRIAGE_ROLES__{role.upper()}_PASSWORD": passwords[role] for role in ("migrator", "worker", "report")},
        },
        "triage-services": {"POSTGRES_PASSWORD": passwords["triage"], "REDIS_PASSWORD": passwords["redis"]},
    }


def _play(name: str, workload: Object, sources: dict[str, dict[str, str]], addresses: dict[str, str]) -> None:
    """Starts one pod of a workload."""
    spec = json.loads(json.dumps(workload["spec"]["template"]["spec"]))
    spec["hostAliases"] = [{"ip": ip, "hostnames": [host]} for host, ip in addresses.items()]
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        volume = claim["metadata"]["name"]
        spec["volumes"].append({"name": volume, "persistentVolumeClaim": {"claimName": volume}})
    absent = {volume["name"] for volume in spec["volumes"] if volume.get("secret", {}).get("optional")}
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in absent]
    own = {volume["name"]: f"{_NAME}-{name}-{volume['name']}" for volume in spec["volumes"] if "emptyDir" in volume}
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] = f"{_NAME}-{volume['name']}"
        else:
            volume["name"] = own.get(volume["name"], volume["name"])  # podman shares those of equal names among pods
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        for kind in ("startupProbe", "livenessProbe", "readinessProbe", "ports"):
            container.pop(kind, None)
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] not in absent]
        for mount in container["volumeMounts"]:
            mount["name"] = own.get(mount["name"], mount["name"])
        variables: dict[str, str] = {}
        for source in container.pop("envFrom", []):
            [reference] = source.values()
            variables |= sources[reference["name"]]
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            variables[variable["name"]] = (
                sources[reference["name"]][reference["key"]] if reference else variable["value"]
            )
        container["env"] = [{"name": key, "value": value} for key, value in variables.items()]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{_NAME}-{name}"}, "spec": spec}
    _podman("kube", "play", "--network", _NAME, "-", text=yaml.safe_dump(pod))
    print(f"{name}: started")


def _probe(name: str, workload: Object, kind: str) -> None:
    """Runs a probe in the container until it succeeds."""
    [container] = workload["spec"]["template"]["spec"]["containers"]
    probe = container[kind]
    if "exec" in probe:
        command = probe["exec"]["command"]
    else:
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        url = f"http://127.0.0.1:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        command = ["python", "-c", f"from urllib.request import urlopen; urlopen({url!r}, timeout=20)"]
    started = time.monotonic()
    while True:
        done = _run("exec", f"{_NAME}-{name}-{container['name']}", *command)
        if done.returncode == 0:
            print(f"{name}: {kind} after {time.monotonic() - started:.0f} s")
            return
        if time.monotonic() - started > _WAIT_SECONDS:
            logs = _run("logs", f"{_NAME}-{name}-{container['name']}")
            raise SystemExit(f"{name}: {kind} fails: {done.stdout}{done.stderr}\n{logs.stdout}{logs.stderr}")
        time.sleep(2)


def _finish(name: str) -> None:
    """Waits until the containers of a job have ended with success."""
    code = _podman("wait", f"{_NAME}-{name}-upgrade").strip()
    if code != "0":
        raise SystemExit(f"{name}: exit code {code}\n{_podman('logs', f'{_NAME}-{name}-upgrade')}")
    print(f"{name}: done")


def _score_a_photo() -> None:
    """A message in the pod of the scoring worker, from its photo to its decision."""
    container = f"{_NAME}-scoring-triage"
    triage = ("exec", container, "triage")
    _podman(*triage, "models", "add", "starter", "--by", "op-1")
    _podman(*triage, "models", "promote", "starter-2", "--by", "op-1")
    photo = io.BytesIO()
    draw_skin_photo(1).save(photo, "JPEG")
    _copy_in(Path(_PHOTO), photo.getvalue())
    _podman(*triage, "enqueue", _PHOTO, "--message-id", "m-1")
    _podman(*triage, "wait", "--message-id", "m-1", "--timeout", str(_WAIT_SECONDS))
    print(_podman("exec", f"{_NAME}-metrics-triage", "triage", "explain", "m-1"))


def _copy_in(path: Path, content: bytes) -> None:
    """Writes a file into the volume `exchange`, as `kubectl cp` does: by tar in the pod `loader`."""
    loader = f"{_NAME}-loader-loader"
    _podman("exec", loader, "mkdir", "-p", str(path.parent))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(path.name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    _podman("exec", "--interactive", loader, "tar", "-xmf", "-", "-C", str(path.parent), data=archive.getvalue())


def _address(name: str) -> str:
    pod = json.loads(_podman("pod", "inspect", f"{_NAME}-{name}"))
    [infra] = json.loads(_podman("inspect", pod["InfraContainerID"]))
    address: str = infra["NetworkSettings"]["Networks"][_NAME]["IPAddress"]
    return address


@contextmanager
def _network() -> Iterator[None]:
    """A network without access to others, as the policies demand; at the end all pods and volumes are removed."""
    _podman("network", "create", "--internal", _NAME)
    try:
        yield
    finally:
        for pod in _podman("pod", "ps", "--quiet", "--filter", f"name=^{_NAME}-").split():
            _run("pod", "rm", "--force", pod)
        for volume in _podman("volume", "ls", "--quiet", "--filter", f"name=^{_NAME}-").split():
            _run("volume", "rm", volume)
        _podman("network", "rm", _NAME)


def _podman(*arguments: str, text: str | None = None, data: bytes | None = None) -> str:
    done = _run(*arguments, data=text.encode() if text is not None else data)
    if done.returncode != 0:
        raise SystemExit(f"podman {' '.join(arguments[:4])}: {done.stderr or done.stdout}")
    return done.stdout


def _run(*arguments: str, data: bytes | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["podman", *arguments], input=data, capture_output=True, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


if __name__ == "__main__":
    main()
