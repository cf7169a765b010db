"""The fast searches against what they are meant to find."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from smtpinspect._core.scan import after_break

# much that nearly counts: needles, breaks, their neighbours
OCTETS = st.lists(st.sampled_from(b"\r\n\0\x0d\x0e.-b/,ac\x80\xff" + b"x" * 30), max_size=300).map(bytes)
NEEDLES = st.sampled_from(b".-b\n\0\xff")


def slowly(octets: bytes, needles: tuple[int, int, int]) -> int:
    found = (i for i in range(1, len(octets)) if octets[i] in needles and octets[i - 1] <= 13)
    return next(found, len(octets))


@given(OCTETS, NEEDLES, NEEDLES, NEEDLES)
@example(b"", 46, 45, 98)
@example(b".", 46, 45, 98)
def test_the_first_needle_behind_a_break(octets: bytes, x: int, y: int, z: int) -> None:
    assert after_break(octets, x, y, z) == slowly(octets, (x, y, z if x != y else x))


def test_at_every_place_of_every_length() -> None:
    """Vectors overlap at the end, and halves stand in for them in short runs."""
    for n in range(2, 200):
        for at in range(1, n):
            octets = bytearray(b"." * n)
            octets[at - 1] = 10
            assert after_break(bytes(octets), 46, 46, 46) == at
            assert after_break(bytes(octets), 45, 46, 98) == at
        assert after_break(b"." * n, 45, 46, 98) == n
