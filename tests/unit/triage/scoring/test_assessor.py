import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import AttachmentId, ModelVersionId, new_id
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import Failed, NotAssessable, Scored, Unreadable
from triage.errors import DeviceError, DeviceLostError, ErrorCode, ModelError, WrongBlobStoreError
from triage.files.hashing import sha256_of
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.model.engines.device_faults import device_errors
from triage.model.engines.engine import ExactEngine
from triage.model.engines.torch_exact import TorchEngine
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel, map_or_bisect

MODEL = ModelVersionId(new_id())


def _double(poisonous: set[int]) -> tuple[Callable[[Sequence[int]], list[int]], list[int]]:
    sizes: list[int] = []

    def function(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if poisonous & set(items):
            raise ValueError("a poisonous item")
        return [2 * item for item in items]

    return function, sizes


@pytest.mark.parametrize("poisonous", [set(), {0}, {5}, {7}, {2, 3}, set(range(8))])
def test_only_items_that_fail_alone_have_no_result(poisonous: set[int]) -> None:
    function, _ = _double(poisonous)

    found = map_or_bisect(function, range(8))

    assert found == [None if item in poisonous else 2 * item for item in range(8)]


def test_bisection_takes_one_call_when_no_item_fails_and_few_when_one_does() -> None:
    function, sizes = _double(set())
    map_or_bisect(function, range(64))
    assert sizes == [64]

    function, sizes = _double({17})
    map_or_bisect(function, range(64))
    assert len(sizes) == 13  # the whole batch, then two halves at each of six levels


def test_bisection_stops_when_the_model_is_broken() -> None:
    def function(items: Sequence[int]) -> list[int]:
        raise ModelError("the weights are gone")

    with pytest.raises(ModelError):
        map_or_bisect(function, [1, 2])


@pytest.mark.parametrize("error", [DeviceError("full"), DeviceLostError("lost")])
def test_batch_is_not_halved_when_the_device_is_at_fault(error: Exception) -> None:
    calls: list[int] = []

    def function(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        raise error

    with pytest.raises(DeviceError):
        map_or_bisect(function, range(64))

    assert calls == [64]


def test_batch_is_not_halved_when_the_built_in_picture_fails_too() -> None:
    def function(items: Sequence[int]) -> list[int]:
        raise RuntimeError("an error of no known kind")

    def check() -> None:
        raise DeviceLostError("lost")

    with pytest.raises(DeviceLostError):
        map_or_bisect(function, range(64), check=check)


def test_built_in_picture_is_scored_after_each_error_of_a_batch() -> None:
    function, sizes = _double({17})
    checks: list[int] = []

    map_or_bisect(function, range(64), check=lambda: checks.append(sizes[-1]))

    assert checks == [64, 32, 16, 8, 4, 2, 1]


class Lost(ExactEngine):
    """A card that fails for all photos, as PyTorch reports it, or with an error that says nothing of the card."""

    name = "lost"
    device = torch.device("cpu")

    def __init__(self, error: Exception) -> None:
        self.error = error

    def logits(self, photos: Tensor) -> Tensor:
        with device_errors():
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("an error of no known kind"),
    ],
    ids=str,
)
def test_no_photo_fails_when_the_card_is_lost(tmp_path: Path, jpeg: Callable[..., bytes], error: Exception) -> None:
    blobs = BlobStore(str(tmp_path))
    photos = [ClaimedAttachment(AttachmentId(new_id()), blobs.put(jpeg(seed)), None) for seed in range(4)]
    with ThreadPoolExecutor(2) as decoders, Decoder() as decoder:
        assessor = PhotoAssessor(
            ScoringModel(MODEL, threshold=0.5, scorer=Scorer(Lost(error), good_votes=2)),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1)),
            decoder=decoder,
            threads=decoders,
        )
        score = assessor.prepare(photos)

        with pytest.raises(DeviceLostError):
            score()


class FailsOnBlack(nn.Module):
    """Raises if the batch contains a black photo; otherwise all logits are equal."""

    def forward(self, photos: Tensor) -> Tensor:
        if bool((photos.flatten(1).max(dim=1).values == 0).any()):
            raise RuntimeError("a kernel failed")
        return torch.zeros(len(photos), 5, 4)


def test_each_attachment_gets_its_own_assessment(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    blobs = BlobStore(str(tmp_path / "blobs"))
    black = _black_jpeg()

    def claimed(data: bytes | None = None, uri: str | None = None) -> ClaimedAttachment:
        return ClaimedAttachment(AttachmentId(new_id()), blobs.put(data) if data else None, uri)

    good, truncated, poison, other = claimed(jpeg(1)), claimed(jpeg(2)[:800]), claimed(black), claimed(jpeg(3))
    refused = claimed(uri="file:///etc/passwd")
    with ThreadPoolExecutor(2) as decoders, Decoder() as decoder:
        assessor = PhotoAssessor(
            ScoringModel(
                MODEL,
                threshold=0.5,
                scorer=Scorer(TorchEngine(FailsOnBlack(), photos_per_call=8), good_votes=2),
            ),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1)),
            decoder=decoder,
            threads=decoders,
        )
        batch = assessor.prepare([good, truncated, poison, other, refused])()

    found = {item.id: item for item in batch.assessments}
    assert (batch.model_version_id, batch.threshold) == (MODEL, 0.5)
    for scored, data in ((good, jpeg(1)), (other, jpeg(3))):
        item = found[scored.id]
        assert isinstance(item, Scored)
        assert item.acceptable  # a score of 0.5 is at the threshold
        assert (item.facts.sha256, item.facts.width, item.facts.height) == (sha256_of(data), 96, 96)
    assert found[truncated.id] == NotAssessable(
        truncated.id, ErrorCode.TRUNCATED, sha256_of(jpeg(2)[:800]), "image/jpeg"
    )
    assert found[poison.id] == Failed(poison.id, ErrorCode.SCORING_FAILED)
    assert found[refused.id] == NotAssessable(refused.id, ErrorCode.URI_NOT_ALLOWED, None)


@pytest.mark.parametrize("is_whole_store_away", [False, True])
def test_photo_without_bytes_is_unreadable_unless_the_whole_store_is_away(
    tmp_path: Path, jpeg: Callable[..., bytes], is_whole_store_away: bool
) -> None:
    blobs = BlobStore(str(tmp_path))
    good = ClaimedAttachment(AttachmentId(new_id()), blobs.put(jpeg(1)), None)
    lost = ClaimedAttachment(AttachmentId(new_id()), sha256_of(b"lost"), None)
    scorer = Scorer(TorchEngine(Constant(0.0)), good_votes=2)

    def check() -> None:
        if is_whole_store_away:
            raise WrongBlobStoreError("the blob store is empty")

    with ThreadPoolExecutor(2) as decoders, Decoder() as decoder:
        assessor = PhotoAssessor(
            ScoringModel(MODEL, threshold=0.5, scorer=scorer),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1), check=check),
            decoder=decoder,
            threads=decoders,
        )
        if is_whole_store_away:
            with pytest.raises(WrongBlobStoreError):
                assessor.prepare([good, lost])
        else:
            found = {item.id: item for item in assessor.prepare([good, lost])().assessments}
            assert isinstance(found[good.id], Scored)
            assert found[lost.id] == Unreadable(lost.id)


class Constant(nn.Module):
    """Gives every patch the same logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, photos: Tensor) -> Tensor:
        return torch.full((len(photos), 5, 4), self.logit)


def test_shadow_models_score_the_same_photos_at_their_own_threshold(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    blobs = BlobStore(str(tmp_path / "blobs"))
    photo = ClaimedAttachment(AttachmentId(new_id()), blobs.put(jpeg(1)), None)
    broken = ClaimedAttachment(AttachmentId(new_id()), blobs.put(jpeg(2)[:300]), None)
    other = ModelVersionId(new_id())

    def scoring_model(id_: ModelVersionId, logit: float, threshold: float) -> ScoringModel:
        scorer = Scorer(TorchEngine(Constant(logit)), good_votes=2)
        return ScoringModel(id_, threshold, scorer)

    with ThreadPoolExecutor(2) as decoders, Decoder() as decoder:
        assessor = PhotoAssessor(
            scoring_model(MODEL, 0.0, 0.4),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1)),
            decoder=decoder,
            threads=decoders,
            shadows=[scoring_model(other, 2.0, 0.9)],
        )
        batch = assessor.prepare([photo, broken])()

    [shadow] = batch.shadows
    [scored] = [item for item in batch.assessments if isinstance(item, Scored)]
    [shadowed] = shadow.assessments
    assert isinstance(shadowed, Scored)
    assert (shadow.model_version_id, shadow.threshold) == (other, 0.9)
    assert (scored.id, scored.score.score, scored.acceptable) == (photo.id, 0.5, True)
    assert (shadowed.id, shadowed.acceptable) == (photo.id, False)
    assert shadowed.score.score == pytest.approx(1 / (1 + math.exp(-2)))


def _black_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 96)).save(file, "JPEG")
    return file.getvalue()


class Crashing(Decoder):
    """Raises an unexpected error for one photo."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def decode(self, data: bytes, *, apart: bool = False) -> DecodedPhoto:
        if data == self._data:
            raise ZeroDivisionError
        return super().decode(data)


def test_only_one_photo_fails_when_its_preparation_raises_an_unexpected_error(
    tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    blobs = BlobStore(str(tmp_path / "blobs"))
    good, bad = (ClaimedAttachment(AttachmentId(new_id()), blobs.put(jpeg(seed)), None) for seed in (1, 2))
    with ThreadPoolExecutor(2) as decoders:
        assessor = PhotoAssessor(
            ScoringModel(MODEL, threshold=0.5, scorer=Scorer(TorchEngine(Constant(0.0)), good_votes=2)),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1)),
            decoder=Crashing(jpeg(2)),
            threads=decoders,
        )
        batch = assessor.prepare([good, bad])()

    found = {item.id: item for item in batch.assessments}
    assert isinstance(found[good.id], Scored)
    assert found[bad.id] == Failed(bad.id, ErrorCode.SCORING_FAILED)  # the attempt counts, so retries end


class Noting(Decoder):
    """Notes which photos were decoded in a decoder process."""

    def __init__(self) -> None:
        super().__init__()
        self.apart: list[bool] = []

    def decode(self, data: bytes, *, apart: bool = False) -> DecodedPhoto:
        self.apart.append(apart)
        return super().decode(data)


def test_photo_is_decoded_apart_only_when_it_is_a_retry(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    blobs, decoder = BlobStore(str(tmp_path / "blobs")), Noting()
    sha256 = blobs.put(jpeg(1))
    with ThreadPoolExecutor(1) as threads:
        assessor = PhotoAssessor(
            ScoringModel(MODEL, threshold=0.5, scorer=Scorer(TorchEngine(Constant(0.0)), good_votes=2)),
            source=PhotoSource(blobs, UriPolicy([], max_bytes=1)),
            decoder=decoder,
            threads=threads,
        )
        for is_retry in (False, True):
            assessor.prepare([ClaimedAttachment(AttachmentId(new_id()), sha256, None, is_retry)])()

    assert decoder.apart == [False, True]
