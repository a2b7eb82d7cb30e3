import re

from tests.support.evaluated import make_evaluated_card
from tests.support.narrow_model import make_narrow_model
from triage.domain.card import Card, Recalibration
from triage.evaluation.card_page import render_card
from triage.model.artifact import read_artifact
from triage.model.starter import STARTER_FOLDER

EPOCH = {"number": 1, "train_loss": 1.0, "validation_loss": 0.9, "validation_auc": 0.8}
TABLE_1 = {
    "n": 3,
    "patients": 2,
    "votes": [1, 0, 0, 0, 2],
    "n_good": 2,
    "fitzpatrick": {"I-III": 2, "IV-VI": 1, "not given": 0},
    "sources": {"phone": 3},
}


def _full() -> Card:
    return make_evaluated_card(
        recalibration=Recalibration(slope=1.2, intercepts=(0.5, 0.1, 0.0, -0.5)),
        learning_curve=[EPOCH],
        training_settings={"seed": 3, "nested": {"deep": None}},
        made_with={"torch": "2.99"},
        data_summary={"splits": {"train": TABLE_1}, "manifest_sha256": "f" * 64, "reviewers": 5},
    )


def test_page_has_everything_of_the_card() -> None:
    page = render_card(_full())
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>((?:<td>.*?</td>)*)</tr>", page)
    found = {name: re.findall("<td>(.*?)</td>", cells) for name, cells in rows}

    assert found["train"] == ["3", "2", "2", "phone 3", "I-III 2, IV-VI 1"]
    assert found["SHA-256 of the manifest"] == ["f" * 64]
    assert found["torch"] == ["2.99"]
    assert (found["seed"], found["nested.deep"]) == (["3"], ["not set"])
    assert "(DeLong)" in found["AUC"][1]
    assert "read this one" in found["AUC, patients resampled"][1]
    assert found["phone"][0] == "60"
    assert len([name for name, _ in rows if name == "test"]) == 4
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Intended use and limits",
        "Data",
        "Method",
        "Metrics",
        "Subgroups",
        "Calibration",
    ]


def test_page_stands_alone_and_escapes_what_the_card_says() -> None:
    page = render_card(_full())

    assert "<script" not in page
    assert "a|b&lt;script&gt;" in page
    assert not re.findall(r"\bsrc=|@import|<link", page)
    assert all(target.startswith("#") for target in re.findall(r"(?:href=\"|url\()([^\")]*)", page))
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') == 2


def test_page_is_written_when_the_card_is_of_an_earlier_release_or_nearly_empty() -> None:
    starter, _ = read_artifact(STARTER_FOLDER)

    assert "For trying the product, not for care" in render_card(starter)
    assert "The card has no evaluation" in render_card(make_narrow_model()[0])
    assert "never trained" in render_card(make_narrow_model(trained=False)[0])
    assert "all are bad" in render_card(make_narrow_model(recalibration_withheld="all are bad")[0])
