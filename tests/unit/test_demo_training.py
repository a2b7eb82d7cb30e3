"""The parts of `make demo-training`: its photos, its commands and the network that it starts from."""

import shlex
from pathlib import Path

import click
import pytest

from recipes.demo_training import COMMANDS, draw_export, write_start
from triage.dataset.redcap import import_redcap
from triage.dataset.splits import split_photos
from triage.model.artifact import read_artifact
from triage.model.weights import load_network
from worker.cli import cli


def test_drawn_export_has_good_and_bad_photos_of_four_reviewers_in_each_split(tmp_path: Path) -> None:
    n_photos = draw_export(tmp_path, n_patients=12)
    made = import_redcap(tmp_path / "export.csv", photos=tmp_path / "photos")

    manifest = split_photos(made.manifest, seed=0)

    assert len(manifest.photos) == n_photos == 24
    assert manifest.votes_per_photo() == {4: 24}
    assert len({photo.patient for photo in manifest.photos}) == 12
    assert {photo.votes >= 2 for photo in manifest.photos} == {True, False}
    assert len({photo.split for photo in manifest.photos}) == 3


def test_network_of_the_demo_can_be_read_and_is_untrained(tmp_path: Path) -> None:
    write_start(tmp_path)

    card, weights = read_artifact(tmp_path)

    assert not card.trained
    assert load_network(card, weights).architecture == card.architecture == "vgg-4-8-16-32-32-five-patch"


@pytest.mark.parametrize("command", [command for _, command in COMMANDS])
def test_command_of_the_demo_has_valid_arguments(command: str) -> None:
    found: click.Command | None = cli
    arguments = shlex.split(command)
    while isinstance(found, click.Group):
        _, found, arguments = found.resolve_command(click.Context(found), arguments)

    assert found is not None
    found.make_context(found.name, arguments)  # raises a UsageError
