"""A model's way through the registry, as a data scientist types it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.narrow_model import draw_narrow_network, make_narrow_model, write_narrow_model
from triage.model.artifact import write_artifact
from triage.model.photo_hashes import PhotoHashes, hash_photo
from triage.model.weights import weights_of
from triage.storage.database import Sessions

Triage: TypeAlias = Callable[..., Result]


@pytest.fixture
def manifest(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    rows = ["path,votes,split,source,patient"]
    for seed, votes in enumerate([0, 4, 1, 3]):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
        rows.append(f"{seed}.jpg,{votes},test,{'phone' if seed % 2 else 'tablet'},patient-{seed}")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([*rows, "broken.jpg,2,test,phone,patient-9"]), encoding="utf-8")
    return path


@pytest.fixture
def candidate(triage: Triage, model_folder: Path, tmp_path: Path) -> str:
    """A registered model without an evaluation."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    card = json.loads((model_folder / "card.json").read_text(encoding="utf-8"))
    changed = card | {"name": "candidate", "metrics": {}, "threshold": 0.5}
    (folder / "card.json").write_text(json.dumps(changed), encoding="utf-8")
    (folder / "weights.safetensors").write_bytes((model_folder / "weights.safetensors").read_bytes())
    assert triage("models", "add", folder).code == 0
    return "candidate"


def test_model_goes_live_once_its_evaluation_is_on_its_card(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    refused = triage("models", "promote", candidate)
    assert refused.code == 2
    assert "did not learn from (none is recorded)" in refused.complaint()
    assert "triage evaluate --model NAME --manifest FILE --record" in refused.complaint()

    page = tmp_path / "evaluation.html"
    options = ("--manifest", manifest, "--split", "test", "--by", "source", "--record", "--html", page)
    result = triage("evaluate", "--model", candidate, *options, "--json")
    evaluation = result.json

    assert f"{page}: the evaluation\n" in result.err
    assert result.err.endswith("5 photos read: 4 scored, 1 not assessable (unknown_format 1); not read: none\n")
    assert (evaluation["n"], evaluation["n_good"], evaluation["threshold"]) == (4, 2, 0.5)
    assert set(evaluation["groups"]["source"]) == {"phone", "tablet"}
    card = triage("models", "card", candidate).json
    assert card["metrics"]["test"]["auc"] == evaluation["auc"]
    shown = page.read_text(encoding="utf-8")
    assert "Evaluation of model candidate" in shown
    assert "data:image/jpeg;base64," not in shown
    assert "patient-" not in shown
    assert ".jpg" not in shown
    too_few = triage("models", "promote", candidate)
    assert "at least 20 good and 20 bad photos" in too_few.complaint()
    assert "(recorded: 2 good and 2 bad)" in too_few.complaint()
    assert "--force" in too_few.complaint()
    for half in (["--force"], ["--reason", "a trial"]):
        assert "give --force and --reason together" in triage("models", "promote", candidate, *half).complaint()
    forced = triage("models", "promote", candidate, "--force", "--reason", "a trial", "--json")
    assert forced.json["stage"] == "live"
    *_, said = triage("models", "list").out.splitlines()
    assert said == "the promotion of the live model was forced: a trial"
    assert triage("models", "list", "--json").json[0]["stage"] == "live"


def test_missing_version_is_refused_with_those_that_exist(triage: Triage, candidate: str, tmp_path: Path) -> None:
    write_narrow_model(tmp_path / "next", draw_narrow_network(seed=9), name=candidate)
    assert triage("models", "add", tmp_path / "next", "--new-version").code == 0

    refused = triage("score", tmp_path / "0.jpg", "--model", f"{candidate}@7")

    assert refused.code == 2
    assert "has no version 7, but candidate@2, candidate@1: choose one" in refused.complaint()
    assert "`triage models list`" in refused.complaint()


def test_model_and_its_export_are_told_apart_when_they_are_compared(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    exported, page = tmp_path / "exported", tmp_path / "page.html"
    assert triage("models", "export", candidate, "-o", exported).code == 0
    arguments = ("compare", candidate, exported, "--manifest", manifest)

    shown, printed = triage(*arguments, "--html", page), triage(*arguments, "--json")

    names = [line.split("  ")[0] for line in shown.out.splitlines() if line.startswith("candidate (")]
    assert names == ["candidate (candidate)", f"candidate ({exported})"]
    assert shown.out.endswith(f"{page}: the comparison\n")
    assert f"second: candidate ({exported})" in page.read_text(encoding="utf-8")
    assert [printed.json[side]["name"] for side in ("one", "other")] == [candidate, candidate]


def test_page_holds_photos_and_names_only_when_they_are_wanted(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    page = tmp_path / "evaluation.html"

    result = triage("evaluate", "--model", candidate, "--manifest", manifest, "--html", page, "--photos", "--json")

    shown = page.read_text(encoding="utf-8")
    n_wrong = result.json["fn"] + result.json["fp"]
    assert shown.count("data:image/jpeg;base64,") == n_wrong + 4  # and all four nearest to the threshold
    assert "This page holds photos of patients" in shown
    assert "0.jpg" in shown
    refused = triage("evaluate", "--model", candidate, "--manifest", manifest, "--photos")
    assert "--photos requires --html" in refused.complaint()


def test_predictions_of_a_model_are_evaluated_as_the_model_is(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    table, again = tmp_path / "predictions.csv", tmp_path / "again.csv"
    made = triage("predict", "--model", candidate, "--manifest", manifest, "-o", table)
    assert made.out.endswith("5 photos read: 4 scored, 1 not assessable (unknown_format 1); not read: none\n")

    direct = triage("evaluate", "--model", candidate, "--manifest", manifest, "--predictions-out", again, "--json").json
    from_table = triage("evaluate", table, "--threshold", "0.5", "--json").json

    assert again.read_bytes() == table.read_bytes()
    differing = {"trained_on", "threshold_chosen_by", "groups", "reasons", "comparison"}
    assert {k: v for k, v in from_table.items() if k not in differing} == {
        k: v for k, v in direct.items() if k not in differing
    }
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["patient"], row["votes"], row["n_reviewers"]) for row in rows] == [
        (f"{seed}.jpg", f"patient-{seed}", votes, "4") for seed, votes in enumerate("0413")
    ]
    assert {"grade", "cumulative_4", "patch_5", "findings", "split", "source"} <= set(rows[0])
    [scored] = triage("score", tmp_path / "0.jpg", "--model", tmp_path / "candidate", "--json").json
    assert float(rows[0]["score"]) == pytest.approx(scored["score"], abs=1e-6)
    assert [float(rows[0][f"cumulative_{cut}"]) for cut in range(1, 5)] == pytest.approx(scored["cumulative"], abs=1e-6)
    assert rows[0]["model"] == scored["model"]


def test_model_is_the_same_however_it_is_named(triage: Triage, candidate: str, manifest: Path, tmp_path: Path) -> None:
    """In every command that takes a model."""
    folder, photo = tmp_path / "candidate", tmp_path / "0.jpg"
    sha256 = triage("models", "card", candidate).json["weights_sha256"]

    for name in (candidate, f"{candidate}@1", sha256[:8], folder):
        assert triage("models", "card", name).json["weights_sha256"] == sha256
        assert triage("score", photo, "--model", name, "--json").json[0]["model"] == candidate
        assert triage("predict", "--model", name, "--manifest", manifest, "-o", tmp_path / "p.csv").code == 0
        evaluated = triage("evaluate", "--model", name, "--manifest", manifest, "--record", "--split", "test", "--json")
        assert evaluated.json["n"] == 4
        compared = triage("compare", name, folder, "--manifest", manifest, "--json")
        assert compared.json["one"]["name"] == candidate
        assert triage("simulate", "--model", name, "--json").json["changes"]["model"] in {name, sha256}
        assert triage("rescore", "--model", name, "--json").json["status"] == "pending"
        trained = triage("train", "--manifest", manifest, "--init", name, "--new-version", "--json").json
        assert trained["parameters"]["init"] == (str(folder) if name == folder else f"{candidate}@1")
    assert triage("models", "card", "starter").json["name"].startswith("starter")


def test_second_model_of_a_name_is_refused_until_it_is_a_new_version(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    card = write_narrow_model(tmp_path / "later", draw_narrow_network(seed=9), name=candidate)

    refused = triage("models", "add", tmp_path / "later")
    assert (refused.code, "candidate@1 is registered" in refused.complaint()) == (2, True)
    assert "--new-version" in refused.complaint()
    added = triage("models", "add", tmp_path / "later", "--new-version", "--json").json
    assert (added["name"], added["version"], added["weights_sha256"]) == (candidate, 2, card.weights_sha256)
    assert "choose one of candidate@2, candidate@1" in triage("models", "shadow", candidate).complaint()
    assert triage("models", "shadow", "candidate@2").out.startswith("model candidate version 2 (")
    assert "--new-version" in triage("train", "--manifest", manifest, "--name", candidate).complaint()


def test_evaluation_says_and_refuses_to_record_that_the_model_learned_from_the_photos(
    triage: Triage, manifest: Path, tmp_path: Path
) -> None:
    """Under any name of the file, and whatever the manifest says."""
    known = PhotoHashes.of("salt", [hash_photo("salt", (tmp_path / "1.jpg").read_bytes())])
    card, _ = make_narrow_model(name="knows")
    write_artifact(tmp_path / "knows", card, weights_of(draw_narrow_network(), photos=known))
    assert triage("models", "add", tmp_path / "knows").code == 0
    (tmp_path / "1.jpg").rename(tmp_path / "renamed.jpg")
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("1.jpg", "renamed.jpg"), encoding="utf-8")

    options, page = ("--model", "knows", "--manifest", manifest, "--split", "test"), tmp_path / "page.html"
    assert triage("evaluate", *options, "--html", page, "--json").json["trained_on"] == 1
    assert "trained or validated on 1 of them" in triage("evaluate", *options).out
    assert "trained or validated on 1 of these photos" in " ".join(page.read_text(encoding="utf-8").split())
    refused = triage("evaluate", *options, "--record")
    assert refused.code == 2
    assert "on 1 of these 4 photos" in refused.err.splitlines()[-1]  # after a warning about the broken photo
    assert triage("models", "card", "knows").json["metrics"] == {}
    compared = triage("compare", "knows", tmp_path / "knows", "--manifest", manifest, "--json").json
    assert any("knows was trained or validated on 1 of the photos" in each for each in compared["cautions"])


def test_scores_are_written_as_a_table_when_it_is_wanted(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    table = tmp_path / "scores.csv"

    result = triage("score", tmp_path / "0.jpg", tmp_path / "broken.jpg", "--model", tmp_path / candidate, "-o", table)

    assert result.code == 0
    with table.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["path"] == "0.jpg"
    assert len(row["weights_sha256"]) == 64
    assert "votes" not in row


def test_evaluation_of_a_model_accounts_for_every_photo_of_the_manifest(triage: Triage, manifest: Path) -> None:
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("0.jpg,0,test", "0.jpg,0,train"), encoding="utf-8")

    shown = triage("evaluate", "--model", "starter", "--manifest", manifest, "--split", "test").out

    assert shown.splitlines()[-1] == (
        "4 photos read: 3 scored, 1 not assessable (unknown_format 1); not read: 1 of other splits"
    )


def test_model_in_the_shadow_is_listed_as_such(triage: Triage, candidate: str) -> None:
    assert triage("models", "shadow", candidate, "--json").json["stage"] == "shadow"
    assert [model["stage"] for model in triage("models", "list", "--json").json] == ["shadow"]


def test_list_names_the_model_when_its_stored_card_is_malformed(
    triage: Triage, candidate: str, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE model_version SET card = card - 'threshold'"))

    listed, card = triage("models", "list", "--json"), triage("models", "card", candidate)

    assert (listed.code, listed.json) == (0, [])
    problem = "the stored card of model candidate@1 is malformed or of another release (threshold: Field required)"
    assert problem in listed.err
    assert (card.code, problem in card.err) == (2, True)
    for command in ("promote", "shadow", "retire"):
        refused = triage("models", command, candidate)
        assert (refused.code, refused.err.count("\n"), problem in refused.err) == (2, 1, True), command


def test_thresholds_for_several_photos_come_from_labelled_messages(
    triage: Triage, candidate: str, tmp_path: Path
) -> None:
    rows = ["score,votes,message"]
    for number in range(25):  # of two photos each: in a usable message the better one scores above .6
        rows += [f"0.3,0,good-{number}", f"0.{60 + number},4,good-{number}"]
        rows += [f"0.2,0,bad-{number}", f"0.{20 + number},1,bad-{number}"]
    predictions = tmp_path / "predictions.csv"
    predictions.write_text("\n".join(rows), encoding="utf-8")

    refused = triage("models", "thresholds", candidate, predictions)
    fitted = triage("models", "thresholds", candidate, predictions, "--group", "message", "--json")

    assert refused.code == 2
    assert "no column 'group'" in refused.complaint()
    assert fitted.json["thresholds_by_photo_count"] == {"2": pytest.approx(0.6)}
    assert triage("models", "card", candidate).json["thresholds_by_photo_count"] == {"2": pytest.approx(0.6)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give PREDICTIONS, or --model and --manifest"),
        (["--model", "starter"], "give PREDICTIONS, or --model and --manifest"),
        (["--model", "nobody", "--manifest", "MANIFEST"], "no model has"),
        (["--model", "starter", "--manifest", "MANIFEST", "--split", "tests"], "split must be one of"),
        (["--model", "starter", "--manifest", "MANIFEST", "--record"], "no model has"),
        (["--model", "starter", "--manifest", "MANIFEST", "--good-votes", "3"], "a model has its own"),
        (["--model", "starter", "--manifest", "MANIFEST", "--split", "train"], "no photo of the split train"),
    ],
)
def test_evaluation_of_a_model_is_refused_in_one_line(
    triage: Triage, manifest: Path, arguments: list[str], says: str
) -> None:
    result = triage("evaluate", *(str(manifest) if argument == "MANIFEST" else argument for argument in arguments))

    assert result.code == 2
    assert says in result.complaint()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--learning-rate", "0"], "--learning-rate"),
        (["--good-votes", "5"], "good_votes is larger"),
        (["--target-ppv", "2"], "--target-ppv"),
        (["--learning-rate", "inf"], "--learning-rate"),
        (["--seed", "-1"], "--seed"),
        (["--name", "clinic 1"], "name: "),
    ],
)
def test_training_is_refused_when_a_setting_is_out_of_range(
    triage: Triage, manifest: Path, options: list[str], says: str
) -> None:
    result = triage("train", "--manifest", manifest, *options)

    assert result.code == 2
    assert says in result.complaint()
    assert triage("runs", "--json").json == []


def test_training_cautions_by_its_own_votes_when_the_splits_that_it_makes_are_small(
    triage: Triage, manifest: Path
) -> None:
    unsplit = manifest.with_name("unsplit.csv")
    unsplit.write_text("path,votes\n" + "".join(f"{seed}.jpg,3\n" for seed in range(4)), encoding="utf-8")

    result = triage("train", "--manifest", unsplit, "--good-votes", "4")

    assert (result.code, result.err) == (0, "")
    [caution] = [line for line in result.out.splitlines() if line.startswith("caution: ")]
    assert "test 0 good and 1 bad photos" in caution


def test_exported_folder_is_a_model_for_every_command(
    triage: Triage, candidate: str, manifest: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "travels"
    exported = triage("models", "export", candidate, "-o", folder)
    assert exported.out == f"{folder}: weights.safetensors, card.json, README.md\n"

    scored = triage("score", manifest.with_name("1.jpg"), "--model", folder, "--json").json
    assert [row["model"] for row in scored] == ["candidate"]
    assert triage("models", "add", folder).code == 0

    again = triage("models", "export", candidate, "-o", folder)
    assert again.code == 2
    assert "not empty: give a new one" in again.complaint()

    page = tmp_path / "card.html"
    assert triage("models", "card", candidate, "--html", page).out == f"{page}: the card of model candidate\n"
    assert "<h1>Model card of candidate</h1>" in page.read_text(encoding="utf-8")
