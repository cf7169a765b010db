"""A stream as both of its ends count it: offsets there and back, and the pieces of any segment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpinspect.enforce.numbers import KEPT_EDITS, Stream

SENT = bytes(range(256)) * 4


@st.composite
def edited(draw):
    """A stream of which some octets were withheld, overwritten, or followed by the box's own."""
    base = draw(st.integers(0, 2**32 - 1))
    stream = Stream(base, len(SENT))
    at = 0
    out = b""
    for _ in range(draw(st.integers(0, 8))):
        gap, n = draw(st.integers(1, 80)), draw(st.integers(1, 40))
        if at + gap + n >= len(SENT):
            break
        out += SENT[at : at + gap]
        at += gap
        kind = draw(st.sampled_from(["withhold", "overwrite", "say", "say twice"]))
        if kind == "withhold":
            assert stream.replace(at, at + n, b"")
            at += n
        elif kind == "overwrite":
            assert stream.replace(at, at + n, b"X" * n)
            out += b"X" * n
            at += n
        else:
            for _ in range(1 + (kind == "say twice")):
                assert stream.replace(at, at, b"said")
                out += b"said"
    return stream, out + SENT[at:]


@given(edited(), st.data())
def test_the_pieces_of_any_cut_make_the_same_stream(made, data):
    stream, wanted = made
    got = bytearray(len(wanted))
    seen = bytearray(len(wanted))
    at = 0
    while at < len(SENT):
        n = data.draw(st.integers(1, 300))
        for piece in stream.pieces(at, SENT[at : at + n]):
            got[piece.at : piece.at + len(piece.octets)] = piece.octets
            seen[piece.at : piece.at + len(piece.octets)] = b"\1" * len(piece.octets)
        at += n
    grown = 0
    for edit in stream.edits:
        start, grown = edit.at + grown, grown + edit.growth
        if edit.at == edit.end and not seen[start]:  # said between two of these segments, it is in none of them
            got[start : start + len(edit.octets)] = edit.octets
            seen[start : start + len(edit.octets)] = b"\1" * len(edit.octets)
    assert bytes(got) == wanted and all(seen)
    assert stream.forward(len(SENT), True) == len(wanted)


@given(edited(), st.integers(0, len(SENT)))
def test_what_the_receiver_has_is_acknowledged_and_no_more(made, offset):
    stream, wanted = made
    there = stream.forward(offset, True)
    # behind what was withheld: the receiver will never name more
    assert stream.back(there) >= offset
    assert stream.forward(stream.back(there), True) == there
    for place in range(0, len(wanted), 7):
        here = stream.back(place)
        assert 0 <= here <= len(SENT)
        # nothing is acknowledged that the receiver does not have
        assert stream.forward(here) <= place or any(e.at == e.end == here for e in stream.edits)
    assert stream.back(len(wanted)) == len(SENT)


@given(edited(), st.integers(0, len(SENT)))
def test_numbers_survive_the_wrap(made, offset):
    stream, _ = made
    assert stream.offset(stream.number(offset)) == offset
    there = stream.forward(offset)
    assert stream.received(stream.number(there)) == there


def test_edits_do_not_lie_upon_each_other():
    stream = Stream(7, 100)
    assert stream.replace(10, 20, b"")
    assert not stream.replace(10, 20, b"")
    assert not stream.replace(5, 11, b"")
    assert not stream.replace(19, 25, b"x")
    assert stream.replace(20, 30, b"y" * 10)
    stream.rewrite(20, b"y" * 10, lambda octets: octets[:5].upper() + octets[5:])
    assert stream.pieces(8, SENT[8:32])[0].octets == SENT[8:10] + b"YYYYYyyyyy" + SENT[30:32]
    assert stream.withheld(0, 11) and not stream.withheld(20, 40)


def test_what_is_lost_never_goes_on():
    stream = Stream(7, 100)
    stream.lose(10, 20)
    assert [(piece.at, piece.octets) for piece in stream.pieces(5, SENT[5:25])] == [
        (5, SENT[5:10]), (20, SENT[20:25]),
    ]  # fmt: skip
    assert not stream.pieces(12, SENT[12:18])
    assert stream.is_lost(10) and not stream.is_lost(20)


def test_old_edits_are_folded():
    stream = Stream(0, 100_000)
    for i in range(2 * KEPT_EDITS):
        stream.acked = i * 10
        stream.replace(i * 10, i * 10 + 3, b"")
    assert len(stream.edits) == KEPT_EDITS
    assert stream.shift == -3 * 2 * KEPT_EDITS
    assert stream.forward(90_000) == 90_000 - 6 * KEPT_EDITS and stream.back(90_000 - 6 * KEPT_EDITS) == 90_000
