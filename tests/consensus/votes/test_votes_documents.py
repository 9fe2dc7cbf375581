"""JSON of certificates and evidence: readable, and nothing shown that is not signed or derived."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import (
    PROPOSER,
    cast,
    certificate,
    check,
    electorate,
    identity,
    mutations,
    people,
    proposal,
    signed,
)

from consensus.votes.accusation import Accusation
from consensus.votes.ballot import Choice
from consensus.votes.certificate import QuorumCertificate
from consensus.votes.documents import certificate_from_json, certificate_to_json
from consensus.votes.errors import CertificateFault, CertificateInvalid, EvidenceInvalid
from consensus.votes.evidence import Evidence, ProposerEvidence

YES, NO, PASS, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO
ASKED = proposal(electorate(4, weights=[1, 2, 3, 4], vetoers=[3]), question="Grüße — ja?")
VALID = certificate(ASKED, [YES, NO, YES, YES])


def refused(text: str | bytes) -> CertificateInvalid:
    with pytest.raises(CertificateInvalid) as caught:
        certificate_from_json(text)
    assert caught.value.fault is CertificateFault.MALFORMED
    return caught.value


def edited(edit: Callable[[dict[str, object]], object]) -> str:
    document = json.loads(certificate_to_json(VALID))
    edit(document)
    return json.dumps(document)


def test_a_document_says_what_was_asked_who_said_what_and_what_came_out() -> None:
    names = {people(4)[0].peer_id: "anna"}
    document = json.loads(certificate_to_json(VALID, names))
    assert document["outcome"] == "approved"
    assert document["question"] == "Grüße — ja?"
    assert document["weights"] == {"approve": 8, "reject": 2, "abstain": 0, "veto": 0, "total": 10}
    assert document["threshold"] == {"more_than": 2, "of": 3, "needed_weight": 7}
    assert document["electorate"][0]["name"] == "anna"
    assert [ballot["choice"] for ballot in document["ballots"]] == [
        "approve",
        "reject",
        "approve",
        "approve",
    ]


def test_a_document_gives_the_same_bytes_with_names_and_in_any_order_of_fields() -> None:
    names = {one.peer_id: "x" for one in people(4)}
    for text in (
        certificate_to_json(VALID),
        certificate_to_json(VALID, names),
        json.dumps(json.loads(certificate_to_json(VALID)), sort_keys=True),
        certificate_to_json(VALID).encode(),
    ):
        assert certificate_from_json(text).to_bytes() == VALID.to_bytes()


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(question="Another?"),
        lambda d: d.update(round=1),
        lambda d: d.update(proposer=people(4)[0].peer_id),
        lambda d: d["weights"].update(approve=10),
        lambda d: d["threshold"].update(needed_weight=1),
        lambda d: d.update(more="fields"),
        lambda d: d.pop("kind"),
        lambda d: d.update(epoch=True),
        lambda d: d.update(epoch="1"),
        lambda d: d.update(subject="not base64"),
        lambda d: d.update(subject="c3ViamVjdB=="),
        lambda d: d.update(proposal_id=d["proposal_id"].upper() + " "),
        lambda d: d.update(outcome="perhaps"),
        lambda d: d.update(electorate=None),
        lambda d: d.update(electorate=[1, 2]),
        lambda d: d["electorate"][0].update(name=3),
        lambda d: d["electorate"][0].update(weight=2),
        lambda d: d["electorate"][0].update(can_veto=0),
        lambda d: d["electorate"].reverse(),
        lambda d: d["electorate"].clear(),
        lambda d: d["ballots"].clear(),
        lambda d: d["ballots"][0].update(choice="maybe"),
        lambda d: d["ballots"][0].update(voter="nobody"),
        lambda d: d["ballots"][0].update(reason="x" * 1025),
        lambda d: d["ballots"][0].update(reason="\ud800"),
        lambda d: d["ballots"].extend(d["ballots"] * 50),
    ],
)
def test_a_field_that_does_not_fit_is_refused(edit: Callable[[dict[str, object]], object]) -> None:
    refused(edited(edit))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        b"\xff",
        '{"format": 1.5}',
        '{"format": NaN}',
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        '{"epoch": ' + "9" * 10_000 + "}",
        " " * (5 * 1024 * 1024),
    ],
    ids=range(10),
)
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    refused(text)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.data())
def test_random_values_in_a_document_are_refused(value: object, data: st.DataObject) -> None:
    document = json.loads(certificate_to_json(VALID))
    name = data.draw(st.sampled_from(sorted(document)))
    if document[name] != value:
        document[name] = value
        refused(json.dumps(document))


def test_every_shorter_document_is_refused() -> None:
    text = certificate_to_json(VALID).rstrip()
    for end in range(0, len(text), 7):
        refused(text[:end])


# -- evidence ----------------------------------------------------------------------------------


def double() -> Evidence:
    return Evidence.of(cast(ASKED, 1, YES), cast(ASKED, 1, NO, "no"))


def test_v4_evidence_is_two_signed_ballots_that_anyone_can_check() -> None:
    evidence = double()
    assert evidence == Evidence.of(cast(ASKED, 1, NO, "no"), cast(ASKED, 1, YES))
    for again in (
        Evidence.from_bytes(evidence.to_bytes()),
        Evidence.from_json(evidence.to_json()),
    ):
        assert again == evidence
        again.verify(ASKED.electorate, check)
    assert evidence.voter == people(4)[1].peer_id
    assert evidence.slot == ASKED.slot


def test_v4_evidence_that_proves_nothing_is_refused() -> None:
    voters = ASKED.electorate
    yes, no, evidence = cast(ASKED, 1, YES), cast(ASKED, 1, NO), double()
    later = proposal(voters, round_number=1)
    for nothing, why in (
        (Evidence(yes, yes), "say the same"),
        (Evidence(evidence.second, evidence.first), "not in order"),
        (Evidence.of(yes, cast(ASKED, 2, NO)), "two voters"),
        (Evidence.of(yes, cast(later, 1, NO)), "two proposals or rounds"),
    ):
        with pytest.raises(EvidenceInvalid, match=why):
            nothing.verify(voters, check)
    with pytest.raises(EvidenceInvalid, match="of another electorate"):
        Evidence.of(yes, no).verify(electorate(4), check)
    for changed in mutations(evidence.to_bytes(), bits=(1,)):
        with pytest.raises(EvidenceInvalid):
            Evidence.from_bytes(changed).verify(voters, check)


def two_questions() -> ProposerEvidence:
    one, two = signed(proposal(question="One?")), signed(proposal(question="Two?"))
    return ProposerEvidence.of(one.signed_header, two.signed_header)


def test_v4_two_questions_in_one_slot_prove_that_the_proposer_lied() -> None:
    evidence = two_questions()
    for again in (
        ProposerEvidence.from_bytes(evidence.to_bytes()),
        ProposerEvidence.from_json(evidence.to_json()),
    ):
        assert again == evidence
        again.verify(check)
    assert evidence.proposer == PROPOSER.peer_id


def test_v4_questions_that_prove_nothing_against_their_proposer_are_refused() -> None:
    evidence, one = two_questions(), signed(proposal(question="One?"))
    other = identity(5)
    of_another = signed(proposal(question="Two?", proposer=other), other)
    for nothing, why in (
        (ProposerEvidence.of(one.signed_header, one.signed_header), "the same"),
        (ProposerEvidence(evidence.second, evidence.first), "not in order"),
        (ProposerEvidence.of(one.signed_header, of_another.signed_header), "two proposers"),
        (
            ProposerEvidence.of(one.signed_header, signed(proposal(round_number=1)).signed_header),
            "two clusters, proposals or rounds",
        ),
    ):
        with pytest.raises(EvidenceInvalid, match=why):
            nothing.verify(check)
    for changed in mutations(evidence.to_bytes(), bits=(1,)):
        with pytest.raises(EvidenceInvalid):
            ProposerEvidence.from_bytes(changed).verify(check)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"CVX1", b"CVY1", b"CVA1", b"{"]))
def test_random_bytes_are_no_evidence(data: bytes, magic: bytes) -> None:
    decoders: tuple[Callable[[bytes], object], ...] = (
        Evidence.from_bytes,
        Evidence.from_json,
        ProposerEvidence.from_bytes,
        ProposerEvidence.from_json,
        Accusation.from_bytes,
        Accusation.from_json,
    )
    for decode in decoders:
        with pytest.raises(EvidenceInvalid):
            decode(magic + data)
    with pytest.raises(CertificateInvalid):
        QuorumCertificate.from_bytes(magic + data)


@pytest.mark.parametrize("name", ["first", "second", "voter", "format"])
@pytest.mark.parametrize("value", [None, 1, "x", [], {}])
def test_a_field_of_evidence_that_does_not_fit_is_refused(name: str, value: object) -> None:
    document = {**json.loads(double().to_json()), name: value}
    with pytest.raises(EvidenceInvalid):
        Evidence.from_json(json.dumps(document))
