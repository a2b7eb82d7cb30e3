"""Evaluations of models and descriptions of data sets. Values that are undefined for these photos are null."""

from typing import Literal

from triage.domain.states import FindingKind
from worker.documents.document import Document

Interval = tuple[float, float] | None
"""The ends of a 95 % confidence interval."""


class AucIntervalsDocument(Document):
    delong: Interval
    hanley_mcneil: Interval
    bootstrap: Interval


class GroupAucIntervalsDocument(Document):
    delong: Interval


class RateIntervalsDocument(Document):
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    needless_retake_share: Interval


class CalibrationBinDocument(Document):
    n: int
    predicted: float
    observed: float
    interval: Interval


class CutCalibrationDocument(Document):
    """The calibration of P(at least `votes` votes), on the `n` photos whose votes decide it."""

    votes: int
    n: int
    n_yes: int
    slope: float | None
    intercept: float | None
    brier: float | None
    bins: list[CalibrationBinDocument]


class CalibrationDocument(Document):
    """The calibration of the score, and of the probability of each number of votes (null if these are not known)."""

    slope: float | None
    intercept: float | None
    brier: float | None
    bins: list[CalibrationBinDocument]
    by_cut: list[CutCalibrationDocument] | None


class PredictiveValuesDocument(Document):
    ppv: float | None
    npv: float | None


class MeanDocument(Document):
    mean: float
    sd: float


class ResampledDocument(Document):
    auc: MeanDocument | None
    ppv: MeanDocument | None
    sensitivity: MeanDocument | None
    npv: MeanDocument | None
    specificity: MeanDocument | None


class PrevalenceDocument(Document):
    """The rates at another share of good photos, by Bayes' rule and by resampling."""

    good_share: float
    bayes: PredictiveValuesDocument
    resampled: ResampledDocument


class CorrelationDocument(Document):
    srcc: float
    plcc: float


class EvaluationGroupDocument(Document):
    n: int
    n_good: int
    auc: float | None
    auc_ci: GroupAucIntervalsDocument
    auc_ci_withheld: str | None
    auc_exact_ci: Interval
    tp: int
    fn: int
    tn: int
    fp: int
    sensitivity: float | None
    specificity: float | None
    ppv: float | None
    npv: float | None
    needless_retake_share: float | None
    intervals: RateIntervalsDocument


class ComparisonDocument(Document):
    """DeLong's paired test of two models on the same photos.

    `interval` and `p_value` are null if they cannot be estimated; `withheld` is the reason.
    """

    auc: float
    other_auc: float
    difference: float
    interval: Interval
    p_value: float | None
    withheld: str | None


class ReasonEvaluationDocument(Document):
    """One reason of a model against the majority of the reviewers. `bins` are for a reliability plot."""

    n: int
    n_with: int
    n_named: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    kappa: float | None
    bins: list[CalibrationBinDocument]


class ReasonsEvaluationDocument(Document):
    """The reasons of a model on the photos whose reviewers gave reasons."""

    n: int
    by_reason: dict[FindingKind, ReasonEvaluationDocument]


class ByPatientDocument(Document):
    """95 % intervals by resampling patients, for photos of which several are of one patient."""

    n_patients: int
    auc_ci: Interval
    intervals: RateIntervalsDocument


class SweepDocument(Document):
    """What one threshold would mean. `requests_per_1000` is of 1,000 photos."""

    threshold: float
    tp: int
    fn: int
    tn: int
    fp: int
    sensitivity: float | None
    specificity: float | None
    ppv: float | None
    npv: float | None
    needless_retake_share: float | None
    requests_per_1000: float
    in_use: bool


class EvaluationDocument(Document):
    """The evaluation of a model. `groups` holds, by column and value, the evaluation of part of the photos.

    `auc_ci` holds nulls if its intervals cannot be estimated, for the reason in `auc_ci_withheld`. `auc_exact_ci` is
    the exact one-sided interval of an AUC of exactly 0 or 1. `calibration_before` is before the model's recalibration,
    if it has one and the model was evaluated rather than a table. `grade_kappa` is the quadratic weighted kappa of
    grades and votes. `trained_on` is the number of photos that the model was trained or validated on, null
    if it is unknown.
    """

    n: int
    n_good: int
    n_bad: int
    good_votes: int
    threshold: float
    threshold_chosen_by: str
    auc: float | None
    auc_ci: AucIntervalsDocument
    auc_ci_withheld: str | None
    auc_exact_ci: Interval
    tp: int
    fn: int
    tn: int
    fp: int
    sensitivity: float | None
    specificity: float | None
    ppv: float | None
    npv: float | None
    needless_retake_share: float | None
    intervals: RateIntervalsDocument
    by_patient: ByPatientDocument | None = None
    calibration: CalibrationDocument
    calibration_before: CalibrationDocument | None
    prevalence_adjusted: PrevalenceDocument | None
    correlation: CorrelationDocument | None
    grade_kappa: float | None = None
    groups: dict[str, dict[str, EvaluationGroupDocument]]
    comparison: ComparisonDocument | None = None
    reasons: ReasonsEvaluationDocument | None = None
    sweep: list[SweepDocument] | None = None
    trained_on: int | None = None


class ComparedModelDocument(Document):
    name: str
    auc: float
    threshold: float
    threshold_chosen_by: str
    sensitivity: float | None
    specificity: float | None
    ppv: float | None
    npv: float | None
    needless_retake_share: float | None


class ComparedByPatientDocument(Document):
    n_patients: int
    interval: Interval


class ReclassifiedDocument(Document):
    """Photos by whether they pass with one model and with the other."""

    both_pass: int
    only_one_passes: int
    only_other_passes: int
    both_fail: int


class ChangedPhotoDocument(Document):
    photo: str
    votes: float
    one: float
    other: float
    passes_with: Literal["one", "other"]


class ModelComparisonDocument(Document):
    """Two models on the same photos. `interval`, `p_value` (DeLong's) are null for the reason in `withheld`."""

    n: int
    n_good: int
    n_bad: int
    good_votes: int
    one: ComparedModelDocument
    other: ComparedModelDocument
    difference: float
    interval: Interval
    p_value: float | None
    withheld: str | None
    permutation_p_value: float
    by_patient: ComparedByPatientDocument | None
    reclassification: dict[Literal["good", "bad"], ReclassifiedDocument]
    changed: list[ChangedPhotoDocument]
    cautions: list[str]


class SplitDocument(Document):
    """The photos of one split. `votes[k]` counts the photos with k votes of `n_reviewers`."""

    n: int
    patients: int | None
    votes: list[int]
    n_good: int
    fitzpatrick: dict[str, int]
    sources: dict[str, int]


class ReviewerDocument(Document):
    reviewer: str
    n: int
    good: int
    good_share: float | None
    with_majority: float | None


class KappaDocument(Document):
    """Cohen's kappa of two reviewers over the `n` photos that both rated."""

    reviewers: tuple[str, str]
    n: int
    kappa: float | None
    interval: Interval


class AgreementDocument(Document):
    """The agreement on the `n` photos with at least two votes. Intervals resample patients."""

    n: int
    krippendorff_alpha: float | None
    krippendorff_alpha_ci: Interval
    unanimous_share: float | None
    kappa: list[KappaDocument]


class DatasetDocument(Document):
    """The description of a data set. `reviewers` and `agreement` are null if only the number of votes is known.

    `n_reviewers` is the number of votes that most photos have, and `votes_per_photo` counts photos by their number.
    """

    n: int
    n_reviewers: int
    good_votes: int
    votes_per_photo: dict[str, int]
    n_good: int
    by_split: dict[str, SplitDocument]
    reviewers: list[ReviewerDocument] | None
    agreement: AgreementDocument | None
