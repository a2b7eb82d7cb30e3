"""Writes the Helm chart in deploy/helm, and the PrometheusRule, from deploy/kubernetes and deploy/prometheus.

make chart

The objects of the chart are those of the Kustomize overlay `cpu`; `values-gpu.yaml` turns them into those of `gpu`.
Values are what the overlays of a clinic change; all else is fixed. Needs kubectl with Kustomize 5.
"""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

Object: TypeAlias = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
KUSTOMIZE: Final = ROOT / "deploy/kubernetes"
CHART: Final = ROOT / "deploy/helm"
RULES: Final = KUSTOMIZE / "components/monitoring/rules.yaml"
_ALERTS: Final = ROOT / "deploy/prometheus/alerts.yml"
_HEADER: Final = "# Written by `make chart`: change deploy/kubernetes instead.\n"

_POD: Final = ("tolerations",)
_CONTAINER: Final = ("env", "image", "resources")
_WORKLOAD: Final = ("replicas", "strategy")
_VALUE: Final = re.compile(r"^( *)([\w-]+): '@(.+)@'\n", re.MULTILINE)
_HOOKS: Final = {
    "helm.sh/hook": "pre-install,pre-upgrade",
    "helm.sh/hook-delete-policy": "before-hook-creation",
}
_KEEP: Final = {"helm.sh/resource-policy": "keep"}
"""`helm uninstall` leaves what patients sent."""

_VALUES_HEADER: Final = """\
# Written by `make chart`: change deploy/kubernetes instead, or give Helm your own values.
#   autoscaling  a ScaledObject of KEDA; set parts.scoring.replicas to null with it
#   monitoring   PodMonitors and a PrometheusRule of the Prometheus operator
#   parts        image, replicas, strategy, env, resources and tolerations of each part
#   services     where Postgres and Redis are: an egress rule of a NetworkPolicy
#   settings     TRIAGE_ variables of all parts that are not secret
#   volumes      the specs of the claims; add storageClassName: the class needs ReadWriteMany
"""


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
    objects = [*build(KUSTOMIZE / "overlays/cpu"), *build(KUSTOMIZE / "database")]
    on_cards = [*build(KUSTOMIZE / "overlays/gpu"), *build(KUSTOMIZE / "database")]
    values = _values(objects)
    parts = {
        name: {key: value for key, value in part.items() if value != values["parts"][name].get(key)}
        for name, part in _values(on_cards)["parts"].items()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = {
        "apiVersion": "v2",
        "name": project["name"],
        "description": project["description"],
        "version": project["version"],
        "appVersion": project["version"],
    }
    files = {
        "Chart.yaml": _HEADER + _dump(about),
        "values.yaml": _VALUES_HEADER + _dump({"autoscaling": False, "monitoring": False, **values}),
        "values-gpu.yaml": "# Written by `make chart`: scoring and training on NVIDIA cards.\n"
        + _dump({"parts": {name: part for name, part in parts.items() if part}}),
    }
    for each in objects:
        files[_file(each)] = _template(each)
    for component in ("monitoring", "autoscaling"):
        folder = KUSTOMIZE / "components" / component
        for file in yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]:
            text = rules() if folder / file == RULES else (folder / file).read_text(encoding="utf-8")
            for each in yaml.safe_load_all(text):
                files[_file(each)] = f"{{{{- if .Values.{component} }}}}\n{_template(each)}{{{{- end }}}}\n"
    return files


def build(folder: Path) -> list[Object]:
    """The objects of a kustomization."""
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def _values(objects: list[Object]) -> Object:
    """What the chart leaves to its users, with the values of these objects."""
    values: Object = {"parts": {}, "services": None, "settings": None, "volumes": {}}
    for each in objects:
        name, kind = each["metadata"]["name"], each["kind"]
        if kind == "Deployment":
            pod = each["spec"]["template"]["spec"]
            sources = ((each["spec"], _WORKLOAD), (pod, _POD), (pod["containers"][0], _CONTAINER))
            values["parts"][name] = {key: source[key] for source, keys in sources for key in keys if key in source}
        elif kind == "Job":
            values["parts"][name] = {"image": each["spec"]["template"]["spec"]["containers"][0]["image"]}
        elif kind == "ConfigMap":
            values["settings"] = each["data"]
        elif kind == "PersistentVolumeClaim":
            values["volumes"][name] = each["spec"]
        elif kind == "NetworkPolicy" and name == "services":
            values["services"] = each["spec"]["egress"]
    return values


def _template(each: Object) -> str:
    """One object with references to the values."""
    name, kind = each["metadata"]["name"], each["kind"]
    each["metadata"].pop("namespace", None)
    if kind == "Deployment":
        pod = each["spec"]["template"]["spec"]
        for source, keys in ((each["spec"], _WORKLOAD), (pod, _POD), (pod["containers"][0], _CONTAINER)):
            source.update({key: f"@parts.{name}.{key}@" for key in keys})
    elif kind == "Job":
        each["metadata"]["annotations"] = _HOOKS
        pod = each["spec"]["template"]["spec"]
        for container in (*pod["initContainers"], *pod["containers"]):
            container["image"] = f"@parts.{name}.image@"
    elif kind == "ConfigMap":
        each["data"] = "@settings@"
    elif kind == "PersistentVolumeClaim":
        each["metadata"]["annotations"] = _KEEP
        each["spec"] = f"@volumes.{name}@"
    elif kind == "NetworkPolicy" and name == "services":
        each["spec"]["egress"] = "@services@"
    text = _dump(each).replace("{{", '{{ "{{" }}')
    # a value of null leaves the field out; 0 does not
    return _HEADER + _VALUE.sub(
        r'{{- if not (kindIs "invalid" .Values.\3) }}\n\1\2: {{ toJson .Values.\3 }}\n{{- end }}\n', text
    )


def _file(each: Object) -> str:
    return f"templates/{each['kind'].lower()}-{each['metadata']['name']}.yaml"


def _dump(document: Object) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return text


if __name__ == "__main__":
    main()
