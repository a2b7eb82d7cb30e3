"""Writes the Helm chart in deploy/helm, and the PrometheusRule, from deploy/kubernetes and deploy/prometheus.

make chart

The objects of the chart are those of the Kustomize overlay `cpu`. Switches do what its components do, and
`values-gpu.yaml` turns the objects into those of `gpu`. Values are what the overlays of a clinic change; all else is
fixed. Needs kubectl with Kustomize 5.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import yaml

Object: TypeAlias = dict[str, Any]
Objects: TypeAlias = dict[tuple[str, str], Object]
"""By kind and name."""

ROOT: Final = Path(__file__).parents[1]
KUSTOMIZE: Final = ROOT / "deploy/kubernetes"
CHART: Final = ROOT / "deploy/helm"
RULES: Final = KUSTOMIZE / "components/monitoring/rules.yaml"
SWITCHES: Final = {
    "autoscaling": "autoscaling.enabled",
    "identity-provider": "identityProvider",
    "monitoring": "monitoring",
    "object-store": "objectStore",
}
"""The value that does what a component does."""

_ALERTS: Final = ROOT / "deploy/prometheus/alerts.yml"
_HEADER: Final = "# Written by `make chart`: change deploy/kubernetes instead.\n"

_POD: Final = ("tolerations", "nodeSelector", "affinity", "runtimeClassName")
_CONTAINER: Final = ("env", "image", "resources")
_WORKLOAD: Final = ("replicas", "strategy")
_HOOKS: Final = {
    "helm.sh/hook": "pre-install,pre-upgrade",
    "helm.sh/hook-delete-policy": "before-hook-creation",
}
_KEEP: Final = {"helm.sh/resource-policy": "keep"}
"""`helm uninstall` leaves what patients sent."""

_VALUES_HEADER: Final = """\
# Written by `make chart`: change deploy/kubernetes instead, or give Helm your own values. null leaves a field out.
#   autoscaling       a ScaledObject of KEDA, with the address of your Prometheus
#   identityProvider  a route for `api` to the provider of logins and tokens
#   monitoring        PodMonitors and a PrometheusRule of the Prometheus operator
#   objectStore       photos and models in S3: see values-object-store.yaml
#   network           the rules of each NetworkPolicy, such as the addresses of Postgres and Redis in `services`
#   parts             of each part: replicas, strategy, env, resources, a separate image, and where it runs:
#                     nodeSelector, tolerations, affinity, runtimeClassName
#   pods              of all parts and the job: image, imagePullSecrets, further volumes and volumeMounts
#   settings          TRIAGE_ variables of all parts that are not secret
#   volumes           the specs of the claims; add storageClassName: the class needs ReadWriteMany
"""

_VALUE: Final = re.compile(r"^( *)([\w-]+): '@([\w.]+)(?: or ([\w.]+))?(?: unless ([\w.]+))?@'\n", re.MULTILINE)
_ITEMS: Final = re.compile(r"^( *)- '@items ([\w.]+)@'\n", re.MULTILINE)
_UNLESS: Final = re.compile(r"^ *- '@unless ([\w.]+)@'\n", re.MULTILINE)
_END: Final = re.compile(r"^ *- '@end@'\n", re.MULTILINE)


def main() -> None:
    """Writes the rules, then the files of the chart."""
    RULES.write_text(rules(), encoding="utf-8")
    for file in (CHART / "templates").glob("*.yaml"):
        file.unlink()
    for name, text in chart().items():
        path = CHART / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def rules() -> str:
    """The PrometheusRule with the alerts of deploy/prometheus."""
    alerts = yaml.safe_load(_ALERTS.read_text(encoding="utf-8"))
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "triage", "namespace": "triage"},
        "spec": alerts,
    }
    return "# Written by `make chart` from deploy/prometheus/alerts.yml.\n" + _dump(rule)


def chart() -> dict[str, str]:
    """The text of each file of the chart, by its path in the chart."""
    database = build(KUSTOMIZE / "database")
    base = _by_name([*build(KUSTOMIZE / "overlays/cpu"), *database])
    on_cards = _by_name([*build(KUSTOMIZE / "overlays/gpu"), *database])
    switched = {component: _by_name([*build_with(component), *database]) for component in SWITCHES}
    every = {key: each for objects in (base, *switched.values()) for key, each in objects.items()} | base
    values = _values(every.values())
    files = {
        "Chart.yaml": _HEADER + _dump(_about()),
        "values.yaml": _VALUES_HEADER + _dump(values),
        "values-gpu.yaml": "# Written by `make chart`: scoring and training on NVIDIA cards.\n"
        + _dump({"parts": _changed(values["parts"], _values(on_cards.values())["parts"])}),
        "values-object-store.yaml": "# Written by `make chart`: photos and models in S3 instead of volumes.\n"
        + _dump(
            {
                "objectStore": True,
                "settings": _changed(values["settings"], _values(switched["object-store"].values())["settings"]),
            }
        ),
    }
    for key, each in every.items():
        text = _template(each, {SWITCHES[name]: objects.get(key) for name, objects in switched.items()})
        for name, objects in switched.items():
            if (key in base) != (key in objects):
                condition = f"not .Values.{SWITCHES[name]}" if key in base else f".Values.{SWITCHES[name]}"
                text = f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"
        files[f"templates/{each['kind'].lower()}-{each['metadata']['name']}.yaml"] = text
    return files


def build(folder: Path) -> list[Object]:
    """The objects of a kustomization."""
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def build_with(*components: str) -> list[Object]:
    """The objects of the base and components, as in an overlay of a clinic."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        upwards = os.path.relpath(KUSTOMIZE, folder)
        document = {
            "resources": [f"{upwards}/base"],
            "components": [f"{upwards}/components/{component}" for component in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return build(folder)


def _by_name(objects: list[Object]) -> Objects:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def _about() -> Object:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "apiVersion": "v2",
        "name": project["name"],
        "description": project["description"],
        "version": project["version"],
        "appVersion": project["version"],
    }


def _values(objects: Iterable[Object]) -> Object:
    """What the chart leaves to its users, with the values of these objects."""
    values: Object = {"autoscaling": {"enabled": False}, "identityProvider": False, "monitoring": False}
    values |= {"objectStore": False, "network": {}, "parts": {}}
    values["pods"] = dict.fromkeys(("image", "imagePullSecrets", "volumes", "volumeMounts"))
    values |= {"settings": {}, "volumes": {}}
    for each in objects:
        name, kind, spec = each["metadata"]["name"], each["kind"], each.get("spec", {})
        if kind == "Deployment":
            pod = spec["template"]["spec"]
            sources = ((spec, _WORKLOAD), (pod, _POD), (pod["containers"][0], _CONTAINER))
            values["parts"][name] = {key: source[key] for source, keys in sources for key in keys if key in source}
        elif kind == "Job":
            values["pods"]["image"] = spec["template"]["spec"]["containers"][0]["image"]
            values["parts"][name] = {}
        elif kind == "ConfigMap":
            values["settings"] = each["data"]
        elif kind == "PersistentVolumeClaim":
            values["volumes"][name] = spec
        elif kind == "NetworkPolicy":
            for direction in {"ingress", "egress"} & spec.keys():
                values["network"][_camel(name)] = spec[direction]
        elif kind == "ScaledObject":
            values["autoscaling"] |= {
                "min": spec["minReplicaCount"],
                "max": spec["maxReplicaCount"],
                "prometheus": spec["triggers"][0]["metadata"]["serverAddress"],
            }
    for part in values["parts"].values():
        if part.get("image") == values["pods"]["image"]:
            part["image"] = None
    return values


def _changed(values: Object, others: Object) -> Object:
    """The values of the others that differ."""
    changed: Object = {}
    for key, value in others.items():
        if isinstance(value, dict) and key in values and key != "resources":
            value = _changed(values[key], value)
            if not value:
                continue
        if value != values.get(key):
            changed[key] = value
    return changed


def _template(each: Object, switched: dict[str, Object | None]) -> str:
    """One object with references to the values.

    Args:
        each: the object.
        switched: what it is with each switch; None if it is not there.
    """
    name, kind, spec = each["metadata"]["name"], each["kind"], each.get("spec", {})
    each["metadata"].pop("namespace", None)
    if kind == "Deployment":
        pod = spec["template"]["spec"]
        for source, keys in ((spec, _WORKLOAD), (pod, _POD), (pod["containers"][0], _CONTAINER)):
            source.update({key: f"@parts.{name}.{key}@" for key in keys})
        pod["containers"][0]["image"] = _image(name)
        for switch, other in switched.items():
            if other is not None:
                _mark_absent(each, other, switch)
        _add_items(pod)
    elif kind == "Job":
        each["metadata"]["annotations"] = _HOOKS
        pod = spec["template"]["spec"]
        pod.update({key: f"@parts.{name}.{key}@" for key in _POD})
        for container in (*pod["initContainers"], *pod["containers"]):
            container["image"] = _image(name)
        _add_items(pod)
    elif kind == "ConfigMap":
        each["data"] = "@settings@"
    elif kind == "PersistentVolumeClaim":
        each["metadata"]["annotations"] = _KEEP
        each["spec"] = f"@volumes.{name}@"
    elif kind == "NetworkPolicy":
        spec.update({direction: f"@network.{_camel(name)}@" for direction in {"ingress", "egress"} & spec.keys()})
    elif kind == "ScaledObject":
        spec |= {"minReplicaCount": "@autoscaling.min@", "maxReplicaCount": "@autoscaling.max@"}
        spec["fallback"]["replicas"] = "@autoscaling.min@"
        spec["triggers"][0]["metadata"]["serverAddress"] = "@autoscaling.prometheus@"
    return _HEADER + _with_references(_dump(each).replace("{{", '{{ "{{" }}'))


def _mark_absent(each: Object, other: Object, switch: str) -> None:
    """Marks what a Deployment lacks with a switch."""
    spec, pod, other_pod = each["spec"], each["spec"]["template"]["spec"], other["spec"]["template"]["spec"]
    if "replicas" not in other["spec"]:
        spec["replicas"] = spec["replicas"][:-1] + f" unless {switch}@"
    for items, others in (
        (pod["volumes"], other_pod["volumes"]),
        (pod["containers"][0]["volumeMounts"], other_pod["containers"][0]["volumeMounts"]),
    ):
        items[:] = [
            part
            for item in items
            for part in ([item] if isinstance(item, str) or item in others else [f"@unless {switch}@", item, "@end@"])
        ]


def _image(name: str) -> str:
    return f"@parts.{name}.image or pods.image@"


def _add_items(pod: Object) -> None:
    """Lets values add to a pod."""
    pod["imagePullSecrets"] = "@pods.imagePullSecrets@"
    pod["volumes"] = [*pod["volumes"], "@items pods.volumes@"]
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        container["volumeMounts"] = [*container["volumeMounts"], "@items pods.volumeMounts@"]


def _with_references(text: str) -> str:
    """The template of a dumped object. A value of null leaves its field out; 0 does not."""

    def field(found: re.Match[str]) -> str:
        indent, key, value, default, switch = found.groups()
        value = f"(.Values.{value} | default .Values.{default})" if default else f".Values.{value}"
        condition = f'not (kindIs "invalid" {value})'
        if switch:
            condition = f"and (not .Values.{switch}) ({condition})"
        return f"{{{{- if {condition} }}}}\n{indent}{key}: {{{{ toJson {value} }}}}\n{{{{- end }}}}\n"

    def items(found: re.Match[str]) -> str:
        indent, value = found.groups()
        return f"{{{{- with .Values.{value} }}}}\n{{{{ toYaml . | indent {len(indent)} }}}}\n{{{{- end }}}}\n"

    text = _UNLESS.sub(r"{{- if not .Values.\1 }}\n", _ITEMS.sub(items, _VALUE.sub(field, text)))
    return _END.sub("{{- end }}\n", text)


def _camel(name: str) -> str:
    return re.sub("-(.)", lambda found: found[1].upper(), name)


def _dump(document: Object) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return text


if __name__ == "__main__":
    main()
