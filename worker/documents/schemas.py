"""The JSON schemas of all documents, committed in `docs/schemas`. `make schemas` writes them again."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from triage.domain.card import Card
from worker.documents.arrivals import ArrivalChangeDocument, ArrivalDocument
from worker.documents.assessments import AssessmentDocument
from worker.documents.clients import ClientDocument, NewKeyDocument
from worker.documents.decisions import DecisionsDocument, DecisionsQuery
from worker.documents.deliveries import DeliveryChangeDocument, DeliveryDocument, StoppedTargetDocument
from worker.documents.drift import DriftDocument
from worker.documents.evaluation import DatasetDocument, EvaluationDocument, ModelComparisonDocument
from worker.documents.events import (
    MessageDecidedDocument,
    RetakeAnsweredDocument,
    RetakeRequestedDocument,
    RetakeWithdrawnDocument,
)
from worker.documents.fhir_check import FhirCheckDocument, SubscriptionDocument
from worker.documents.flips import FlipsDocument
from worker.documents.labelling import LabelNextDocument, SuspectsDocument
from worker.documents.messages import AcceptanceDocument, MessageHistoryDocument, OverrideDocument
from worker.documents.models import ModelDocument, ModelThresholdsDocument
from worker.documents.operations import (
    AdoptedStoreDocument,
    ArchiveDocument,
    ArchivePreviewDocument,
    CheckDocument,
    ForgottenDocument,
    PartDocument,
    PurgeDocument,
    RequeuedDocument,
    RewrittenFileDocument,
    RunDocument,
    VerificationDocument,
)
from worker.documents.opt_out import OptOut, ThreadOptOutDocument
from worker.documents.photo_reviews import PhotoReviewAgreementDocument, PhotoReviewDocument
from worker.documents.photos import PhotoScoreDocument
from worker.documents.posted import PostedMessage
from worker.documents.problem import ProblemDocument
from worker.documents.rejection import RejectionDocument
from worker.documents.replies import LocaleDocument, ReplyDocument
from worker.documents.reports import ReportDocument
from worker.documents.retakes import (
    AcknowledgedRequestsDocument,
    Acknowledgement,
    Claim,
    ClaimedRequestDocument,
    ClaimedRequestsDocument,
    RetakeRequestDocument,
    Withdrawal,
)
from worker.documents.reviews import AppealCall, ReviewDocument, SampleDocument
from worker.documents.settings import SettingDocument
from worker.documents.simulation import ProposalDocument, SimulationDocument
from worker.documents.staff import StaffDocument
from worker.documents.state import MessageStateDocument, PhotoVerdictDocument
from worker.documents.submission import Submission

DOCUMENTS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        "acceptance": AcceptanceDocument,
        "appeal": AppealCall,
        "acknowledged-requests": AcknowledgedRequestsDocument,
        "acknowledgement": Acknowledgement,
        "adopted-store": AdoptedStoreDocument,
        "archive": ArchiveDocument,
        "archive-preview": ArchivePreviewDocument,
        "arrival": ArrivalDocument,
        "arrival-change": ArrivalChangeDocument,
        "assessment": AssessmentDocument,
        "card": Card,
        "check": CheckDocument,
        "client": ClientDocument,
        "claim": Claim,
        "claimed-request": ClaimedRequestDocument,
        "claimed-requests": ClaimedRequestsDocument,
        "dataset": DatasetDocument,
        "delivery": DeliveryDocument,
        "delivery-change": DeliveryChangeDocument,
        "decisions": DecisionsDocument,
        "decisions-query": DecisionsQuery,
        "drift": DriftDocument,
        "evaluation": EvaluationDocument,
        "model-comparison": ModelComparisonDocument,
        "event-message-decided": MessageDecidedDocument,
        "event-retake-answered": RetakeAnsweredDocument,
        "event-retake-requested": RetakeRequestedDocument,
        "event-retake-withdrawn": RetakeWithdrawnDocument,
        "fhir-check": FhirCheckDocument,
        "flips": FlipsDocument,
        "forgotten": ForgottenDocument,
        "label-next": LabelNextDocument,
        "locale": LocaleDocument,
        "message-history": MessageHistoryDocument,
        "message-state": MessageStateDocument,
        "model": ModelDocument,
        "model-thresholds": ModelThresholdsDocument,
        "new-key": NewKeyDocument,
        "opt-out": OptOut,
        "override": OverrideDocument,
        "part": PartDocument,
        "photo-score": PhotoScoreDocument,
        "photo-verdict": PhotoVerdictDocument,
        "posted-message": PostedMessage,
        "problem": ProblemDocument,
        "proposal": ProposalDocument,
        "purge": PurgeDocument,
        "rejection": RejectionDocument,
        "reply": ReplyDocument,
        "report": ReportDocument,
        "requeued": RequeuedDocument,
        "retake-request": RetakeRequestDocument,
        "rewritten-file": RewrittenFileDocument,
        "review": ReviewDocument,
        "run": RunDocument,
        "sample": SampleDocument,
        "setting": SettingDocument,
        "photo-review": PhotoReviewDocument,
        "photo-review-agreement": PhotoReviewAgreementDocument,
        "staff": StaffDocument,
        "stopped-target": StoppedTargetDocument,
        "simulation": SimulationDocument,
        "submission": Submission,
        "subscription": SubscriptionDocument,
        "suspects": SuspectsDocument,
        "thread-opt-out": ThreadOptOutDocument,
        "verification": VerificationDocument,
        "withdrawal": Withdrawal,
    }
)


def schema_text(document: type[BaseModel]) -> str:
    """Returns the JSON schema of a document as the text of its file."""
    return json.dumps(document.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes all schemas into the folder given as the only argument."""
    folder = Path(sys.argv[1])
    for name, document in DOCUMENTS.items():
        (folder / f"{name}.json").write_text(schema_text(document), encoding="utf-8")


if __name__ == "__main__":
    main()
