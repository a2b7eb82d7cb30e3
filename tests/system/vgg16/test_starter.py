"""The starter model: complete, small, documented, and sensitive to degradations."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triage.domain.photos import Finding
from triage.domain.promotion import is_evaluated
from triage.domain.states import FindingKind
from triage.findings.rules import measure_findings
from triage.imaging.degradation import Degradation, degrade
from triage.imaging.photo import DecodedPhoto
from triage.model.artifact import CARD_FILE, WEIGHTS_FILE, read_artifact
from triage.model.engines.torch_exact import TorchEngine
from triage.model.patches import resize_photo
from triage.model.scorer import Scorer
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network
from triage.samples.drawing import SkinTone, draw_skin_photo

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    card, weights = read_artifact(STARTER_FOLDER)
    return Scorer.of(card, TorchEngine(load_network(card, weights)))


def test_starter_is_small_evaluated_and_states_its_licences() -> None:
    card, _ = read_artifact(STARTER_FOLDER)

    assert (STARTER_FOLDER / WEIGHTS_FILE).stat().st_size <= 32 * 2**20
    assert card.trained
    assert is_evaluated(card)
    assert "not for care" in card.licence_notes
    for owed in ("The University of Texas at Austin", "CC BY 4.0", "SqueezeNet"):
        assert owed in card.licence_notes
    assert card.metrics["test"]["auc"] > 0.842


def _scores(scorer: Scorer, photos: list[Image.Image]) -> list[float]:
    return [score.score for score in scorer.score([resize_photo(DecodedPhoto.of(photo)) for photo in photos])]


@pytest.fixture(scope="module")
def drawn() -> list[Image.Image]:
    return [draw_skin_photo(seed, tone=tone, size=(480, 480)) for seed, tone in ((1, SkinTone.II), (2, SkinTone.V))]


@pytest.fixture(scope="module")
def drawn_scores(scorer: Scorer, drawn: list[Image.Image]) -> list[float]:
    return _scores(scorer, drawn)


@pytest.mark.parametrize("degradation", list(Degradation))
def test_score_of_a_drawn_photo_falls_when_it_is_degraded(
    scorer: Scorer, drawn: list[Image.Image], drawn_scores: list[float], degradation: Degradation
) -> None:
    degraded = _scores(scorer, [degrade(photo, degradation, 0.95, seed=3) for photo in drawn])

    assert all(worse < better for worse, better in zip(degraded, drawn_scores, strict=True))


def test_sharp_drawings_of_every_skin_tone_pass(scorer: Scorer) -> None:
    card, _ = read_artifact(STARTER_FOLDER)
    photos = [draw_skin_photo(50 + seed, tone=tone, size=(600, 600)) for tone in SkinTone for seed in range(2)]

    scores = _scores(scorer, photos)

    assert sum(score >= card.threshold for score in scores) >= 11  # of twelve


def _findings(scorer: Scorer, photo: Image.Image) -> tuple[bool, list[FindingKind]]:
    """Whether a photo passes, and its reasons, the likeliest first."""
    passes, findings = _explained(scorer, photo)
    return passes, [finding.kind for finding in findings]


def _explained(scorer: Scorer, photo: Image.Image) -> tuple[bool, tuple[Finding, ...]]:
    decoded = DecodedPhoto.of(photo)
    small = resize_photo(decoded)
    [score] = scorer.score([small])
    passes = score.score >= read_artifact(STARTER_FOLDER)[0].threshold
    measured = measure_findings(decoded.upright, small.permute(1, 2, 0).numpy())
    return passes, scorer.findings(score, measured, acceptable=passes)


@pytest.mark.parametrize(
    ("degradation", "expected"),
    [
        (Degradation.DEFOCUS, FindingKind.DEFOCUS),
        (Degradation.MOTION, FindingKind.MOTION),
        (Degradation.DARK, FindingKind.TOO_DARK),
        (Degradation.OVEREXPOSED, FindingKind.TOO_BRIGHT),
    ],
)
def test_reason_of_a_degraded_photo_is_among_the_first_two(
    scorer: Scorer, degradation: Degradation, expected: FindingKind
) -> None:
    photo = degrade(draw_skin_photo(1, tone=SkinTone.II, size=(600, 600)), degradation, 0.8)

    passes, reasons = _findings(scorer, photo)

    assert not passes
    assert expected in reasons[:2]


@pytest.mark.parametrize("tone", list(SkinTone))
def test_sharp_skin_of_any_tone_has_no_reason(scorer: Scorer, tone: SkinTone) -> None:
    assert _findings(scorer, draw_skin_photo(1000 * tone + 7, tone=tone, size=(600, 600))) == (True, [])


def test_no_skin_is_named_for_a_page_of_text(scorer: Scorer) -> None:
    random = np.random.default_rng(1)
    page = np.full((600, 600, 3), 235, np.uint8)
    for top in range(40, 560, 24):
        for left in range(40, 540, 12):
            if random.random() < 0.8:
                page[top : top + 10, left : left + int(random.integers(4, 11))] = 40

    _, findings = _explained(scorer, Image.fromarray(page))

    [probability] = [finding.probability for finding in findings if finding.kind is FindingKind.NO_SKIN]
    assert (probability or 0) > 0.95


def test_model_of_the_first_form_scores_as_the_starter_does(drawn: list[Image.Image], tmp_path: Path) -> None:
    """`starter-1`: one intercept for all votes, and one limit for all reasons."""
    _, weights = read_artifact(STARTER_FOLDER)
    document = json.loads((STARTER_FOLDER / CARD_FILE).read_text())
    slope, [intercept, *_] = document["recalibration"]["slope"], document["recalibration"]["intercepts"]
    document |= {"name": "starter-1", "recalibration": {"slope": slope, "intercept": intercept}}
    for reason in document["reasons"]["reasons"].values():
        reason |= {"named_from": 0.18, "advised_from": 0.76}
    (tmp_path / CARD_FILE).write_text(json.dumps(document))
    (tmp_path / WEIGHTS_FILE).write_bytes(weights)

    card, weights = read_artifact(tmp_path)
    scores = _scores(Scorer.of(card, TorchEngine(load_network(card, weights))), drawn)

    assert scores == pytest.approx([0.97968, 0.98563], abs=1e-3)  # of starter-1
