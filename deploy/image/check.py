"""Checks the finished file system of the image during its build, as its user.

python check.py [EXTRA...]

Scores two drawn photos with the starter model, in the process itself and in a decoder process, imports the extras, and
looks for the text of every licence that THIRD-PARTY-NOTICES.md names for an installed package.
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from triage.samples.drawing import draw_skin_photo

NOTICES = Path("/usr/share/doc/skin-photo-triage/THIRD-PARTY-NOTICES.md")
MODULES = {
    "mlflow": ["mlflow"],
    "onnx": ["onnx", "onnxscript"],
    "parquet": ["pyarrow.parquet"],
    "s3": ["s3fs"],
}


def score() -> None:
    with tempfile.TemporaryDirectory() as folder:
        draw_skin_photo(1).save(f"{folder}/photo.jpg")
        draw_skin_photo(1).save(f"{folder}/photo.webp")
        done = subprocess.run(["triage", "score", folder, "--json"], stdout=subprocess.PIPE, check=True)
    photos = json.loads(done.stdout)
    if [photo["outcome"] for photo in photos] != ["scored"] * 2:
        sys.exit(f"check: not scored: {photos}")


def find_licences() -> None:
    lines = NOTICES.read_text(encoding="utf-8").splitlines()
    rows = [re.split(r" ?\| ?", line)[1:5] for line in lines if line.startswith("| ")]
    listed = {name for name, wheel, *_ in rows if not wheel}
    installed = {package.metadata["Name"].lower().replace("_", "-") for package in distributions()}
    missing = sorted(installed - listed - {"skin-photo-triage"})
    for name, wheel, licence, texts in rows:
        if (wheel or name) in installed and not (wheel and licence.startswith("LicenseRef-NVIDIA")):
            missing += [f"{name}: {text}" for text in texts.split(", ") if not is_there(text, wheel or name)]
    if missing:
        sys.exit(f"check: no text of the licence: {missing}")


def is_there(text: str, package: str) -> bool:
    if text.startswith("wheel"):
        try:
            files = distribution(text.removeprefix("wheel of ") if " " in text else package).files or []
        except PackageNotFoundError:
            return False
        paths = [
            file.locate()
            for file in files
            if re.search(r"dist-info/.*(licen[cs]e|copying|notice|eula)", str(file), re.I)
        ]
        return bool(paths) and all(Path(str(path)).exists() for path in paths)
    return text.startswith("https://") or (NOTICES.parent / "licenses" / text).exists()


if __name__ == "__main__":
    score()
    find_licences()
    for extra in sys.argv[1:]:
        for module in MODULES[extra]:
            importlib.import_module(module)
