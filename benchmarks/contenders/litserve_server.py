"""The server that `benchmarks.contenders.litserve` starts: `python -m benchmarks.contenders.litserve_server PORT`."""

import base64
import io
import sys
from typing import Any

import litserve  # type: ignore[import-not-found, unused-ignore]  # not a dependency of this project
import torch

from benchmarks.contenders.naive import read_patches
from benchmarks.contenders.product import PHOTOS_PER_BATCH
from triage.model.artifact import read_artifact
from triage.model.network import pool_patches
from triage.model.patches import N_PATCHES
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network


class Scorer(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Decodes like the naive worker and scores batches."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self.network = load_network(*read_artifact(STARTER_FOLDER)).eval()

    def decode_request(self, request: dict[str, str]) -> Any:
        return read_patches(io.BytesIO(base64.b64decode(request["photo"])))

    def batch(self, inputs: list[Any]) -> Any:
        return torch.cat(inputs)

    @torch.inference_mode()
    def predict(self, patches: Any) -> Any:
        network = self.network
        logits = network.logits_of(network.features((patches - network.mean) / network.std))
        return pool_patches(logits.view(-1, N_PATCHES, logits.shape[-1]))[0][:, 1].tolist()

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> Any:
        return {"score": output}


if __name__ == "__main__":
    api = Scorer(max_batch_size=PHOTOS_PER_BATCH, batch_timeout=0.05)
    litserve.LitServer(api, accelerator="cpu").run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
