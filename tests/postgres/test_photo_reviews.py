"""Photo reviews: which photos are drawn, who votes on them, what undoing keeps, and how well the reviewers agree."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.support.clinic import Clinic
from triage.domain.ids import PhotoReviewId, ReviewedPhotoId
from triage.domain.photo_reviews import MAX_PHOTOS, MAX_VOTES, EvenlyBy, Order, SamplingRule
from triage.domain.states import FindingKind, Fitzpatrick
from triage.errors import LeaseLostError, NotFoundError, TriageError, UsageError
from triage.photo_reviews import sets, voting
from triage.photo_reviews.agreement import agreement, blind_reviews

LEASE = timedelta(minutes=15)


def create(clinic: Clinic, name: str = "r-1", **rule: Any) -> PhotoReviewId:
    defaults: dict[str, Any] = {"size": 100, "second_share": 0, "near": 0}
    return sets.create(clinic.sessions, name, SamplingRule(**defaults | rule), by="m-1").id


def send(clinic: Clinic, *photos: str, source: str = "ehr") -> None:
    """One message for each photo."""
    for photo in photos:
        clinic.send(f"of-{photo}", photo, source=source)
    clinic.drain()


def photos(clinic: Clinic, review: PhotoReviewId) -> list[str]:
    """The sender's ids of the photos of a review, in the order in which they are shown."""
    return [
        row.external_id
        for row in clinic.query(
            "SELECT a.external_id FROM reviewed_photo p JOIN attachment a ON a.id = attachment_id "
            "WHERE review_id = :review ORDER BY place",
            review=review,
        )
    ]


def take(clinic: Clinic, review: PhotoReviewId, by: str) -> ReviewedPhotoId | None:
    return voting.claim_next(clinic.sessions, review, by=by, lease=LEASE)


def vote(clinic: Clinic, review: PhotoReviewId, by: str, *goods: bool) -> None:
    """Votes on the next photos."""
    for good in goods:
        photo = take(clinic, review, by)
        assert photo is not None
        voting.vote(clinic.sessions, review, photo, good=good, by=by)


def votes(clinic: Clinic) -> list[tuple[str, bool, bool]]:
    """(actor, good, withdrawn) of each vote, the oldest first."""
    return [
        (row.actor, row.good, row.withdrawn)
        for row in clinic.query("SELECT actor, good, withdrawn_at IS NOT NULL AS withdrawn FROM photo_vote ORDER BY id")
    ]


def test_rule_draws_the_same_photos_in_a_random_order_when_the_seed_is_the_same(clinic: Clinic) -> None:
    names = [f"{n}/0.{n}" for n in range(1, 10)]
    send(clinic, *names)

    first, again, other = (
        photos(clinic, create(clinic, name, size=9, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again != other
    assert len(first) == len(set(first)) == 9
    assert first != sorted(first)  # by chance once in 362,880 runs


def test_rule_draws_the_photos_closest_to_the_threshold(clinic: Clinic) -> None:
    send(clinic, "a/0.1", "b/0.45", "c/0.52", "d/0.9")
    drawn = photos(clinic, create(clinic, size=2, order=Order.NEAR_THRESHOLD))
    assert sorted(drawn) == ["b/0.45", "c/0.52"]


def test_rule_draws_evenly_and_by_condition(clinic: Clinic) -> None:
    send(clinic, *(f"{n}/0.3" for n in range(8)))
    send(clinic, "x/0.3", "y/0.3", source="portal")
    clinic.execute("UPDATE message SET fitzpatrick = 'V' WHERE external_id IN ('of-x/0.3', 'of-1/0.3')")

    evenly = photos(clinic, create(clinic, "a", size=4, evenly_by=EvenlyBy.SOURCE))
    of_source = photos(clinic, create(clinic, "b", source="portal"))
    of_type = photos(clinic, create(clinic, "c", fitzpatrick=[Fitzpatrick.V, Fitzpatrick.VI]))

    assert Counter(name in {"x/0.3", "y/0.3"} for name in evenly) == {True: 2, False: 2}
    assert sorted(of_source) == ["x/0.3", "y/0.3"]
    assert sorted(of_type) == ["1/0.3", "x/0.3"]


def test_rule_leaves_out_copies_and_photos_that_no_one_can_see(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/unreadable", "c/0.3")
    clinic.send("again", "a/0.3")
    clinic.drain()
    [row] = clinic.query("SELECT id FROM message WHERE external_id = 'of-c/0.3'")
    clinic.execute(f"SELECT forget_message(gen_random_uuid(), '{row.id}', 'op-1', 'r')")
    assert photos(clinic, create(clinic)) == ["a/0.3"]


def test_rule_selects_a_copy_when_the_bytes_of_the_first_photo_were_deleted(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    clinic.execute("UPDATE attachment SET uri = NULL")
    clinic.execute("INSERT INTO blob (sha256, size_bytes, purge_after) SELECT sha256, 1, now() FROM attachment")
    clinic.send("again", "a/0.3")
    clinic.drain()
    assert photos(clinic, create(clinic)) == ["a/0.3"]


def test_rule_is_refused_when_it_is_malformed_or_selects_nothing(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    create(clinic)

    for name, rule, problem in (
        ("r-1", {}, "has this name"),
        ("a b", {}, "name"),
        ("r-2", {"size": 0}, "size"),
        ("r-2", {"size": MAX_PHOTOS + 1}, "size"),
        ("r-2", {"second_share": 1.5}, "share"),
        ("r-2", {"seed": -1}, "seed"),
        ("r-2", {"votes": 0}, "votes"),
        ("r-2", {"votes": MAX_VOTES + 1}, "votes"),
        ("r-2", {"source": "nowhere"}, "no photo"),
    ):
        with pytest.raises(UsageError, match=problem):
            create(clinic, name, **rule)
    assert [review.name for review in sets.list_reviews(clinic.sessions)] == ["r-1"]


def test_second_reviewer_votes_on_a_share_and_near_the_threshold(clinic: Clinic) -> None:
    send(clinic, "a/0.1", "b/0.2", "c/0.8", "d/0.9", "e/0.49")
    review = create(clinic, second_share=0.4, near=0.02)

    rows = clinic.query("SELECT reviewers, external_id FROM reviewed_photo p JOIN attachment a ON a.id = attachment_id")

    twice = {row.external_id for row in rows if row.reviewers == 2}
    assert "e/0.49" in twice
    assert len(twice - {"e/0.49"}) in {1, 2}  # two at random, of which one may be the photo near the threshold
    vote(clinic, review, "dr-1", *[True] * 5)
    vote(clinic, review, "dr-2", *[True] * len(twice))
    assert take(clinic, review, "dr-1") is take(clinic, review, "dr-2") is take(clinic, review, "dr-3") is None


def test_third_reviewer_votes_when_two_disagree(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic, second_share=1)
    vote(clinic, review, "dr-1", True)
    vote(clinic, review, "dr-2", False)

    assert take(clinic, review, "dr-1") is take(clinic, review, "dr-2") is None
    vote(clinic, review, "dr-3", True)
    assert take(clinic, review, "dr-4") is None
    assert sets.find(clinic.sessions, review).done == 1


def test_each_photo_gets_the_same_number_of_votes_when_the_rule_says_so(clinic: Clinic) -> None:
    send(clinic, "a/0.1", "b/0.5")  # one of them at the threshold
    review = create(clinic, votes=4, second_share=0.5, near=0.1)
    vote(clinic, review, "dr-1", True, True)
    vote(clinic, review, "dr-2", False, True)  # no extra vote on disagreement

    assert sets.find(clinic.sessions, review).done == 0
    assert agreement(clinic.sessions, review).observed.n == 0  # two votes of four say nothing yet about all
    vote(clinic, review, "dr-3", True, True)
    vote(clinic, review, "dr-4", True, True)
    assert take(clinic, review, "dr-5") is None

    found = agreement(clinic.sessions, review)
    assert (found.review.done, found.review.votes) == (2, 8)
    assert (found.observed.k, found.observed.n) == (1, 2)
    assert found.alpha == pytest.approx(0)  # by hand: 1 - 7 * (1 / 3 + 1 / 3 + 1 / 3 + 1) / (2 * 7)
    assert len(found.pairs) == 6


def test_third_reviewer_votes_when_two_of_two_disagree_on_each_photo(clinic: Clinic) -> None:
    send(clinic, "a/0.1")
    review = create(clinic, votes=2)
    vote(clinic, review, "dr-1", True)
    vote(clinic, review, "dr-2", False)
    vote(clinic, review, "dr-3", True)
    assert take(clinic, review, "dr-4") is None
    assert (agreement(clinic.sessions, review).observed.k, agreement(clinic.sessions, review).observed.n) == (0, 1)


def test_intervals_of_agreement_are_wider_when_photos_belong_to_few_threads(clinic: Clinic) -> None:
    for n in range(24):
        clinic.send(f"m-{n}", f"{n}/0.3", thread=f"t-{n}")
    clinic.drain()
    review = create(clinic, votes=2)
    vote(clinic, review, "dr-1", *[n % 2 == 0 for n in range(24)])
    vote(clinic, review, "dr-2", *[n % 2 == 0 and n < 12 for n in range(24)])

    apart = agreement(clinic.sessions, review)
    clinic.execute(
        "UPDATE message m SET thread_id = (SELECT id FROM thread ORDER BY id OFFSET place / 12 LIMIT 1) "
        "FROM attachment a JOIN reviewed_photo p ON p.attachment_id = a.id WHERE a.message_id = m.id"
    )
    together = agreement(clinic.sessions, review)

    for found in (apart, together):
        assert found.alpha_interval is not None
        assert found.pairs[0].interval is not None
        assert found.alpha is not None
        assert found.alpha_interval[0] <= found.alpha <= found.alpha_interval[1]
    assert apart.alpha == together.alpha
    assert _width(together.alpha_interval) > _width(apart.alpha_interval)
    assert _width(together.pairs[0].interval) > _width(apart.pairs[0].interval)


def _width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


def test_two_people_get_two_photos_when_they_ask_at_once(clinic: Clinic) -> None:
    send(clinic, *(f"{n}/0.3" for n in range(8)))
    review = create(clinic)
    taken: list[ReviewedPhotoId | None] = []

    def ask(name: str) -> None:
        taken.append(take(clinic, review, name))

    threads = [threading.Thread(target=ask, args=(f"dr-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({photo for photo in taken if photo}) == len(taken) == 8
    assert take(clinic, review, "dr-9") is None
    mine = take(clinic, review, "dr-3")
    assert mine in taken  # the own photo again


def test_photo_is_free_again_when_the_claim_has_ended(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic)
    photo = take(clinic, review, "dr-1")
    assert photo is not None
    assert take(clinic, review, "dr-2") is None

    clinic.execute("UPDATE reviewed_photo SET lease_until = lease_until - interval '1 hour'")

    assert take(clinic, review, "dr-2") == photo
    with pytest.raises(LeaseLostError):
        voting.vote(clinic.sessions, review, photo, good=True, by="dr-1")
    with pytest.raises(LeaseLostError):
        voting.show(clinic.sessions, review, photo, by="dr-1")
    voting.vote(clinic.sessions, review, photo, good=True, by="dr-2")
    assert votes(clinic) == [("dr-2", True, False)]


def test_vote_is_refused_when_it_is_the_second_of_a_person_or_malformed(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic, second_share=1)
    photo = take(clinic, review, "dr-1")
    assert photo is not None

    for good, reason in ((True, FindingKind.MOTION), (False, FindingKind.NO_CLEAR_REASON)):
        with pytest.raises(UsageError, match="reasons"):
            voting.vote(clinic.sessions, review, photo, good=good, reasons=[reason], by="dr-1")
    for _ in range(2):  # the same vote again has no effect
        voting.vote(clinic.sessions, review, photo, good=False, reasons=[FindingKind.MOTION], by="dr-1")
    clinic.execute("UPDATE reviewed_photo SET claimed_by = 'dr-1', lease_until = now() + interval '1 hour'")
    with pytest.raises(UsageError, match="you have voted"):
        voting.vote(clinic.sessions, review, photo, good=True, by="dr-1")
    assert clinic.query("SELECT good, reasons FROM photo_vote") == [(False, ["motion"])]


def test_vote_has_no_further_effect_when_its_form_arrives_twice_at_once(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic)
    photo = take(clinic, review, "dr-1")
    assert photo is not None
    refused: list[Exception] = []
    together = threading.Barrier(6)

    def give() -> None:
        together.wait()
        try:
            voting.vote(clinic.sessions, review, photo, good=True, by="dr-1")
        except TriageError as error:
            refused.append(error)

    threads = [threading.Thread(target=give) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert refused == []
    assert votes(clinic) == [("dr-1", True, False)]


def test_undone_vote_is_kept_and_not_counted(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/0.3")
    review = create(clinic, second_share=1)
    vote(clinic, review, "dr-1", True, True)
    vote(clinic, review, "dr-2", True, False)

    photo = voting.undo(clinic.sessions, review, by="dr-2", lease=LEASE)

    assert votes(clinic)[-1] == ("dr-2", False, True)
    assert voting.show(clinic.sessions, review, photo, by="dr-2").left == 1
    assert sets.find(clinic.sessions, review).votes == 3
    assert take(clinic, review, "dr-3") is None  # dr-2 holds the only photo that waits
    voting.vote(clinic.sessions, review, photo, good=True, by="dr-2")
    assert (sets.find(clinic.sessions, review).done, agreement(clinic.sessions, review).observed.k) == (2, 2)
    with pytest.raises(UsageError, match="no vote to undo"):
        voting.undo(clinic.sessions, review, by="dr-3", lease=LEASE)


def test_skipped_photo_is_the_last_one(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/0.3")
    review = create(clinic)
    first = take(clinic, review, "dr-1")
    assert first is not None

    voting.skip(clinic.sessions, review, first, by="dr-1")

    second = take(clinic, review, "dr-1")
    assert second not in {None, first}
    vote(clinic, review, "dr-1", True)
    assert take(clinic, review, "dr-1") == first


def test_closed_review_takes_no_votes(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic)
    photo = take(clinic, review, "dr-1")
    assert photo is not None
    for _ in range(2):
        sets.close(clinic.sessions, review, by="m-1")

    with pytest.raises(UsageError, match="closed"):
        voting.vote(clinic.sessions, review, photo, good=True, by="dr-1")
    with pytest.raises(UsageError, match="closed"):
        take(clinic, review, "dr-1")
    with pytest.raises(NotFoundError):
        take(clinic, PhotoReviewId(photo), "dr-1")


def test_agreement_counts_the_first_two_votes_of_each_photo(clinic: Clinic) -> None:
    send(clinic, "a/0.1", "b/0.2", "c/0.8", "d/0.9")
    review = create(clinic, second_share=1)
    vote(clinic, review, "dr-1", True, True, False, False)
    vote(clinic, review, "dr-2", True, False, False, False)
    vote(clinic, review, "dr-3", True)

    found = agreement(clinic.sessions, review)

    assert (found.observed.k, found.observed.n) == (3, 4)
    assert found.alpha == pytest.approx(1 - 7 * 2 / (2 * 3 * 5))  # by hand: two of eight votes are a mismatched pair
    [pair] = found.pairs
    assert (pair.reviewers, pair.n, pair.agreed, pair.kappa) == (("dr-1", "dr-2"), 4, 3, 0.5)
    assert [(each.reviewer, each.votes, each.good) for each in found.reviewers] == [
        ("dr-1", 4, 2),
        ("dr-2", 4, 1),
        ("dr-3", 1, 1),
    ]


def test_agreement_is_empty_when_no_one_has_voted(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    found = agreement(clinic.sessions, create(clinic))
    assert (found.observed.n, found.alpha, found.pairs, found.reviewers) == (0, None, [], [])


def test_agreement_is_hidden_from_people_who_still_vote(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/0.3")
    review = create(clinic)
    vote(clinic, review, "dr-1", True)
    assert [blind_reviews(clinic.sessions, by=by) for by in ("dr-1", "m-1")] == [{review}, set()]
    voting.undo(clinic.sessions, review, by="dr-1", lease=LEASE)
    assert blind_reviews(clinic.sessions, by="dr-1") == {review}  # the person may vote again
    sets.close(clinic.sessions, review, by="m-1")
    assert blind_reviews(clinic.sessions, by="dr-1") == set()


def test_votes_go_with_the_photo_when_its_message_is_forgotten(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/0.3")
    review = create(clinic)
    vote(clinic, review, "dr-1", True, False)
    [row] = clinic.query("SELECT id FROM message WHERE external_id = 'of-a/0.3'")

    clinic.execute(f"SELECT forget_message(gen_random_uuid(), '{row.id}', 'op-1', 'r')")

    assert photos(clinic, review) == ["b/0.3"]
    assert len(votes(clinic)) == 1
    assert sets.find(clinic.sessions, review).photos == 1


def test_photo_is_not_shown_when_its_bytes_were_deleted(clinic: Clinic) -> None:
    send(clinic, "a/0.3", "b/0.3")
    review = create(clinic)
    clinic.execute("INSERT INTO blob (sha256, size_bytes, purge_after) SELECT sha256, 1, now() FROM attachment LIMIT 1")
    clinic.execute("UPDATE attachment SET uri = NULL")
    vote(clinic, review, "dr-1", True)
    assert take(clinic, review, "dr-1") is None


def test_trail_names_voters_and_no_votes(clinic: Clinic) -> None:
    send(clinic, "a/0.3")
    review = create(clinic)
    vote(clinic, review, "dr-1", True)
    voting.undo(clinic.sessions, review, by="dr-1", lease=LEASE)
    sets.close(clinic.sessions, review, by="m-1")

    events = clinic.query(
        "SELECT actor, action, details - 'role' AS details FROM audit_event WHERE subject_id = :review "
        "ORDER BY position",
        review=review,
    )

    assert [(row.actor, row.action, sorted(row.details)) for row in events] == [
        ("m-1", "photo_review.created", ["photos"]),
        ("dr-1", "photo.voted", ["photo", "vote"]),
        ("dr-1", "photo.vote_withdrawn", ["photo", "vote"]),
        ("m-1", "photo_review.closed", []),
    ]
