"""Checks of the live model, its device and its photos."""

from triage.errors import ModelError
from triage.model.artifact import check_model
from triage.model.cards import driver_responds, has_card
from triage.registry import Registry
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from worker.doctor.problems import ProblemError
from worker.setting_groups import ScorerSettings


def check_live_model(sessions: Sessions, registry: Registry) -> str:
    with sessions() as session:
        live = models.live(session)
    if live is None:
        raise ProblemError("no model is live", "run `triage models add FOLDER`, then `triage models promote NAME`")
    check_model(live.card, registry.weights(live.card))
    if not live.card.trained:
        raise ModelError("the live model is untrained, so its scores mean nothing: promote a trained model")
    return f"{live.card.label}, threshold {live.card.threshold:.3f}"


def check_drift(sessions: Sessions) -> str:
    """Names the sources whose photos have changed since the promotion of the live model."""
    from triage.reports.drift import find_drift  # deferred: imports numpy

    found = find_drift(sessions)
    if drifted := [each["source"] for each in found["sources"] if each["drifted"]]:
        raise ProblemError(
            f"photos of {', '.join(drifted)} are no longer like those at the promotion of the live model",
            "run `triage drift`, look at the messages that it names, and evaluate the model on new labels",
        )
    return "none" if found["status"] == "stable" else "unknown: too few photos or too early"


def check_device(scorer: ScorerSettings) -> str:
    """Examines the machine of this command."""
    if scorer.device == "cpu" or scorer.engine == "mnn":
        return "the CPU, by setting"
    if not has_card():
        return "no GPU on this machine"
    if not driver_responds():
        raise ProblemError(
            "this machine has a GPU whose driver does not respond, so its workers do not use it",
            "install or restart the NVIDIA driver, or give the container the GPU; to do without, set "
            "TRIAGE_SCORER__DEVICE=cpu",
        )
    return "the driver of the GPU responds"
