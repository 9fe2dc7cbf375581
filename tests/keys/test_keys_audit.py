"""The audit log's format, and that no change of a log goes unseen."""

from __future__ import annotations

import json

import pytest
from audit_lab import OTHER, OWN, note, packed, written
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS

from keys import InvalidValue
from keys.auditing.entry import (
    START,
    AuditEntry,
    AuditNote,
    Checkpoint,
    Head,
    clean,
    decode_audit_entry,
    decode_checkpoint,
    frame,
    link,
    sign_head,
)
from keys.auditing.lines import audit_bytes_of, audit_header, audit_line, read_audit_header
from keys.auditing.verdict import AuditVerdict, Fault, verify_log
from keys.canonical import NotCanonical

COUNT, EVERY = 24, 6
WHOLE = written(COUNT, EVERY)
ENTRIES = [at for at, part in enumerate(WHOLE) if isinstance(part, AuditEntry)]
SIGNED = [at for at, part in enumerate(WHOLE) if isinstance(part, Checkpoint)]
LAST = next(part for part in reversed(WHOLE) if isinstance(part, Checkpoint))


def judge(data: bytes, *held: Checkpoint) -> AuditVerdict:
    return verify_log([(1, data)], OWN.public_key, held)


def fault(data: bytes, *held: Checkpoint) -> tuple[Fault, int] | None:
    problem = judge(data, *held).problem
    return (problem.fault, problem.sequence) if problem else None


def changed(entry: AuditEntry) -> AuditEntry:
    return link(Head(entry.sequence - 1, entry.previous), note(99))


def entry_at(place: int) -> AuditEntry:
    part = WHOLE[place]
    assert isinstance(part, AuditEntry)
    return part


def test_an_untouched_log_is_whole_and_agrees_with_the_head_that_others_hold() -> None:
    verdict = judge(packed(WHOLE), LAST)
    assert verdict.problem is None
    assert (verdict.first, verdict.last, verdict.signed) == (1, COUNT, COUNT)
    assert (verdict.checkpoints, verdict.compared, verdict.unsigned) == (COUNT // EVERY, 1, 0)


def test_entries_and_checkpoints_are_read_as_they_were_made() -> None:
    made = link(START, AuditNote("a.b", 5, 6, "x", "y", "failed", {"n": 3, "s": "t"}, 7, bytes(16)))
    assert decode_audit_entry(made.raw) == made
    signed = sign_head(OWN, made.head, NOW_MS)
    assert decode_checkpoint(signed.raw) == signed
    assert signed.is_signed_by(OWN.public_key)
    assert not signed.is_signed_by(OTHER.public_key)


@given(st.sampled_from(ENTRIES))
def test_a_changed_entry_is_named(place: int) -> None:
    parts = [*WHOLE]
    parts[place] = changed(entry_at(place))
    problem = judge(packed(parts)).problem
    assert problem is not None
    assert problem.fault is Fault.CHANGED
    sequence = entry_at(place).sequence
    if sequence % EVERY:
        assert (problem.sequence, problem.through) == (sequence, sequence)
    else:  # the chain leads right into the checkpoint: it may have been made again from anywhere
        assert (problem.sequence, problem.through) == (sequence - EVERY + 1, sequence)


@given(st.sampled_from(ENTRIES))
def test_a_removed_entry_is_named(place: int) -> None:
    parts = [part for at, part in enumerate(WHOLE) if at != place]
    sequence = entry_at(place).sequence
    if sequence == 1:  # then the file does not begin as it is called
        assert fault(packed(parts)) == (Fault.REMOVED, 1)
    else:
        assert fault(packed(parts)) == (Fault.REMOVED, sequence)


@given(st.sampled_from(ENTRIES))
def test_an_inserted_entry_is_named_although_its_chain_is_right(place: int) -> None:
    forged = link(entry_at(place).head, note(77))
    parts = [*WHOLE[: place + 1], forged, *WHOLE[place + 1 :]]
    found = fault(packed(parts))
    assert found is not None
    assert found[1] == forged.sequence
    assert found[0] in (Fault.INSERTED, Fault.REORDERED)


@given(st.sampled_from(ENTRIES[:-1]))
def test_two_entries_that_changed_places_are_named(place: int) -> None:
    other = next(at for at in ENTRIES if at > place)
    parts = [*WHOLE]
    parts[place], parts[other] = parts[other], parts[place]
    assert fault(packed(parts)) == (Fault.REORDERED, entry_at(place).sequence)


@given(st.sampled_from(ENTRIES))
def test_a_chain_made_again_behind_a_change_does_not_fit_the_next_checkpoint(place: int) -> None:
    parts: list[AuditEntry | Checkpoint] = [*WHOLE[:place]]
    head = Head(entry_at(place).sequence - 1, entry_at(place).previous)
    for part in WHOLE[place:]:
        if isinstance(part, AuditEntry):
            part = link(head, note(55))
            head = part.head
        parts.append(part)
    found = fault(packed(parts))
    since = (entry_at(place).sequence - 1) // EVERY * EVERY + 1
    assert found == (Fault.CHANGED, since)


@given(st.sampled_from(SIGNED))
def test_a_checkpoint_of_another_key_is_a_bad_signature(place: int) -> None:
    parts = [*WHOLE]
    old = parts[place]
    assert isinstance(old, Checkpoint)
    parts[place] = sign_head(OTHER, old.head, NOW_MS)
    assert fault(packed(parts)) == (Fault.SIGNATURE, old.head.sequence)
    raw = old.raw[:-1] + bytes([old.raw[-1] ^ 1])
    data = packed(parts[:place]) + frame(raw) + packed(parts[place + 1 :])
    if place != SIGNED[-1]:
        assert fault(data) == (Fault.SIGNATURE, old.head.sequence)
    else:  # a signature of which not all came to stand: so a disk may leave it
        assert judge(data).torn_bytes == len(frame(raw))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_log_that_was_cut_short_is_told_by_the_head_that_others_hold(keep: int) -> None:
    cut = packed(WHOLE[:keep])
    last = sum(isinstance(part, AuditEntry) for part in WHOLE[:keep])
    expected = None if last == COUNT else (Fault.TRUNCATED, last + 1)
    assert fault(cut, LAST) == expected
    assert fault(cut) is None, "without a head of others nothing can tell"


@given(st.integers(0, len(packed(WHOLE)) - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unseen_by_those_who_hold_the_head(place: int, mask: int) -> None:
    data = bytearray(packed(WHOLE))
    data[place] ^= mask
    verdict = judge(bytes(data), LAST)
    # Only in the last checkpoint does a change look like an unfinished end; the entries are all
    # there, and agree with the head.
    tail = len(packed(WHOLE[:-1]))
    assert verdict.problem is not None or (place >= tail and verdict.compared == 1)


@given(st.integers(0, len(packed(WHOLE))))
def test_an_unfinished_end_is_no_tampering(size: int) -> None:
    data = packed(WHOLE)[:size]
    verdict = judge(data)
    assert verdict.problem is None
    ends = [len(packed(WHOLE[:count])) for count in range(len(WHOLE) + 1)]
    assert verdict.torn_bytes == size - max(end for end in ends if end <= size)


@given(st.binary(max_size=300))
def test_garbage_is_judged_and_never_a_traceback(data: bytes) -> None:
    judge(data)
    judge(packed(WHOLE) + data, LAST)
    for read in (decode_audit_entry, decode_checkpoint):
        try:
            read(data)
        except NotCanonical:
            continue


def test_a_log_that_begins_later_says_why() -> None:
    later = [part for part in WHOLE if _number(part) > EVERY]
    verdict = verify_log([(EVERY + 1, packed(later))], OWN.public_key)
    assert verdict.problem is not None
    assert verdict.problem.fault is Fault.REMOVED
    said = link(LAST.head, note(0, "log.dropped", first=1, through=EVERY))
    end: list[AuditEntry | Checkpoint] = [said, sign_head(OWN, said.head, NOW_MS)]
    assert verify_log([(EVERY + 1, packed([*later, *end]))], OWN.public_key).problem is None


def test_a_file_that_is_missing_in_the_middle_is_named() -> None:
    files = [
        (first, packed([p for p in WHOLE if first <= _number(p) < first + EVERY]))
        for first in range(1, COUNT, EVERY)
    ]
    assert verify_log(files, OWN.public_key).problem is None
    problem = verify_log([files[0], *files[2:]], OWN.public_key).problem
    assert problem is not None
    assert (problem.fault, problem.sequence) == (Fault.REMOVED, EVERY + 1)


def _number(part: AuditEntry | Checkpoint) -> int:
    return part.sequence if isinstance(part, AuditEntry) else part.head.sequence


# -- words -------------------------------------------------------------------------------------


def test_what_is_written_has_no_tickets_secrets_or_control_characters() -> None:
    line = "conclave1-AcXiGrHJ9gItgcOyXjQ2y38d93"
    made = link(
        START,
        AuditNote(
            "a.b", 0, 0, by=line, subject=f"\x1b[2J{line}", detail={"passphrase": "s", "x": line}
        ),
    )
    for secret in (b"AcXiGr", b"\x1b", b"\xa1s\x0c"):
        assert secret not in made.raw
    assert made == link(START, made.note)
    read = decode_audit_entry(made.raw).note
    assert read.detail == {"passphrase": "***", "x": "conclave1-***"}
    assert read.subject == "?[2Jconclave1-***"


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    entry = link(START, AuditNote("a.b", 0, 0, text, text, text, {"x": text}))
    assert decode_audit_entry(entry.raw).raw == entry.raw
    assert clean(clean(text)) == clean(text)


def test_what_is_no_kind_or_no_value_is_misuse() -> None:
    for wrong in (
        AuditNote("nothing", 0, 0),
        AuditNote("a.b", 0, 0, detail={"A b": 1}),
        AuditNote("a.b", 0, 0, detail={"n": 1 << 70}),
        AuditNote("a.b", 0, 0, times=1 << 70),
        AuditNote("a.b", 0, 0, times=0),
        AuditNote("a.b", 0, 0, trace=b"short"),
    ):
        with pytest.raises(InvalidValue):
            link(START, wrong)


# -- exports -----------------------------------------------------------------------------------


def test_an_export_is_the_log_again() -> None:
    lines = [audit_line(part) for part in WHOLE]
    assert audit_bytes_of(lines) == (1, packed(WHOLE))
    peer_id, name, public_key = read_audit_header(audit_header(OWN.public_key, "alpha"))
    assert (peer_id, name, public_key) == (OWN.peer_id, "alpha", OWN.public_key)


@given(st.sampled_from(ENTRIES), st.sampled_from(["kind", "by", "wall_ms", "detail", "digest"]))
def test_a_changed_field_of_an_export_shows(place: int, name: str) -> None:
    lines = [audit_line(part) for part in WHOLE]
    said = json.loads(lines[place])
    said[name] = {"kind": "x.y", "by": "me", "wall_ms": 1, "detail": {}, "digest": "00" * 32}[name]
    lines[place] = json.dumps(said)
    with pytest.raises(InvalidValue, match=f"entry {entry_at(place).sequence} was changed"):
        audit_bytes_of(lines)


@pytest.mark.parametrize("line", ["", "[]", "{}", "7", '{"signed": "00"}', '{"signed": 3}', "\x00"])
def test_lines_that_are_none_are_refused(line: str) -> None:
    with pytest.raises(InvalidValue):
        audit_bytes_of([line])
    with pytest.raises(InvalidValue):
        read_audit_header(line)


def test_the_words_of_an_exported_checkpoint_are_those_that_are_signed() -> None:
    said = json.loads(audit_line(LAST))
    said["checkpoint"]["sequence"] += 1
    with pytest.raises(InvalidValue):
        audit_bytes_of([json.dumps(said)])


def test_a_frame_is_its_length_and_its_bytes() -> None:
    assert frame(b"abc") == b"\0\0\0\3abc"
