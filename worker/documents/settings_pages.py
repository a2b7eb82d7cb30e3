"""Pages made from the settings: the table of docs/operations/settings.md, and deploy/env.example.

`make pages` writes both again.
"""

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Final

from worker.settings import VARIABLES
from worker.variables import Variable

_TABLE: Final = "| variable | default | meaning |\n|---|---|---|\n"
_HEAD: Final = """\
# With Docker Compose, copy this file to .env in the folder of docker-compose.yml, run chmod 600 on it, and fill it in.
# Passwords become part of URLs: use letters and digits only, such as the output of `openssl rand -hex 32`.
# POSTGRES_PASSWORD is that of the superuser, which only creates the roles; the next three are those of the roles.
POSTGRES_PASSWORD=
MIGRATOR_PASSWORD=
WORKER_PASSWORD=
REPORT_PASSWORD=
REDIS_PASSWORD=

# Folder of the host for files that the containers read: incoming/ for photos sent by URI, training data, models to add.
# User 10001 needs read access.
#EXCHANGE_FOLDER=./exchange

# Folder of the host for files that commands write. User 10001 needs write access.
#OUTPUT_FOLDER=./output

# Number of scoring and training workers on the CPU. On a host with an NVIDIA card set 0 and the profile gpu.
#CPU_WORKERS=1
#COMPOSE_PROFILES=gpu

# Tag of the images.
#IMAGE_TAG=latest
# Extras that `docker compose build` adds (mlflow, onnx, parquet, s3), and decoders that it leaves out
# (pillow-heif, pillow-jxl-plugin): docs/operations/install.md#image
#IMAGE_EXTRAS="s3 parquet"
#IMAGE_WITHOUT="pillow-heif pillow-jxl-plugin"
# The images that this one is built on and that run beside it, by digest: deploy/image/pin prints these lines.
#PYTHON_TAG=3.11.13-slim-bookworm@sha256:...
#POSTGRES_IMAGE=postgres:17-bookworm@sha256:...
#REDIS_IMAGE=valkey/valkey:8.1@sha256:...

# Limits of memory of a scoring worker on the CPU, of one on a GPU, of a training worker: docs/operations/install.md
#SCORING_MEMORY=6g
#GPU_MEMORY=24g
#TRAINING_MEMORY=6g

# Settings with their defaults, as `triage settings --env-example` prints them. docker-compose.yml fixes the four
# URLs, the passwords of the roles, TRIAGE_INTAKE__URI_ROOTS and where metrics are served: with Docker Compose, their
# lines have no effect.
"""


def settings_table() -> str:
    """The table of docs/operations/settings.md."""
    rows = (f"| `{each.name}` | {_code(_default(each))} | {each.meaning} |\n" for each in VARIABLES.values())
    return _TABLE + "".join(rows)


def env_example() -> str:
    """The text of deploy/env.example: what Docker Compose needs, and every setting as a comment."""
    groups = groupby(VARIABLES.values(), key=lambda variable: variable.path[0])
    return _HEAD + "".join("\n" + "".join(map(_example, group)) for _, group in groups)


def _example(variable: Variable) -> str:
    meaning = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", variable.meaning).replace("`", "")
    return f"# {meaning}\n#{variable.name}={_default(variable)}\n"


def _default(variable: Variable) -> str:
    match variable.default:
        case None:
            return ""
        case tuple():
            return json.dumps(variable.default)
        case float():
            return f"{variable.default:g}"
    return str(variable.default)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def with_settings_table(page: str) -> str:
    """docs/operations/settings.md, whose table is replaced. The table ends the page."""
    return page.partition(_TABLE)[0] + settings_table()


def main() -> None:
    """Writes both pages below the current folder."""
    page = Path("docs/operations/settings.md")
    page.write_text(with_settings_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    Path("deploy/env.example").write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    main()
