"""An attachment's findings and where they were decided do not depend on how its octets arrive."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.archives import STORED, Member, deflated, zip_of
from kit.files import PROGRAM, file_of
from kit.scanning import ALL, scan, scan_cut, scan_skipping


@given(seed=st.integers(0, 2**48))
def test_the_cut_changes_nothing(seed: int) -> None:
    rng = Random(seed)
    octets = file_of(rng)
    wants = rng.choice([ALL, ALL, ALL, ("zip-encrypted",), ("ooxml-vba", "pe-packed"), ("archive-nested",)])
    whole = scan(octets, wants)
    assert scan_cut(octets, range(1, len(octets)), wants) == whole
    cuts = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.choice([1, 3, 20])))
    assert scan_cut(octets, cuts, wants) == whole
    assert scan_skipping(octets, rng, wants) == whole


@given(seed=st.integers(0, 2**48))
def test_what_decided_is_the_first_octet_that_could(seed: int) -> None:
    """Cut behind that octet it is found; cut before, it is not."""
    rng = Random(seed)
    octets = file_of(rng)
    whole = scan(octets)
    for at in {found.at for found in whole}:
        upto = [found for found in whole if found.at <= at]
        assert scan(octets[: at + 1]) == upto
        assert scan(octets[:at]) == [found for found in whole if found.at < at]


def first_that_gives(packed: bytes, index: int) -> int:
    """The octet of `packed` with which that inflated octet can be told first, by another way."""
    inflater, n = zlib.decompressobj(-15), 0
    for i in range(len(packed)):
        n += len(inflater.decompress(packed[i : i + 1]))
        if n > index:
            return i
    raise AssertionError("it never comes")


@given(
    lead=st.one_of(st.integers(0, 400), st.integers(0, 30_000)),
    seed=st.integers(0, 2**32),
    noise=st.sampled_from([2, 16, 256]),
    level=st.sampled_from([0, 1, 9]),
)
def test_offsets_go_through_deflate(lead: int, seed: int, noise: int, level: int) -> None:
    """Of an executable in a member, and of one in a stored member of a deflated archive."""
    rng = Random(seed)
    filler = bytes(octet % noise for octet in rng.randbytes(lead))
    program = PROGRAM + filler
    (bare,) = scan(program)
    inner = zip_of(Member(b"f", filler), Member(b"a.exe", program, method=STORED))
    for octets, index in ((program, bare.at), (inner, inner.index(program) + bare.at)):
        outer = Member(b"outer", octets, level=level)
        whole = zip_of(outer)
        found = scan(whole, ("pe-packed",))
        assert [f.at for f in found] == [len(outer.local()) + first_that_gives(deflated(octets, level), index)]
        assert scan_skipping(whole, rng, ("pe-packed",)) == found
        assert scan_cut(whole, range(0, len(whole), rng.choice([1, 57, 1000])), ("pe-packed",)) == found


SMALL = """
from random import Random
from smtpinspect.grammar import limits
limits.CONTENT_TOTAL, limits.CONTENT_FINDINGS = {total}, 2
limits.INFLATE_FLOOR, limits.INFLATE_RATIO, limits.INFLATED_OCTETS = 3_000, 20, 60_000
from kit.archives import Member, zip_of
from kit.files import file_of
from kit.scanning import scan, scan_cut, scan_skipping
from smtpinspect._core.scanner import held
told = set()
for seed in range(250):
    rng = Random(seed)
    octets = file_of(rng)
    if rng.random() < 0.4:
        zeros = bytes(rng.choice([0, 20_000, 400_000]))
        octets = zip_of(Member(b"x", octets + zeros, described=rng.choice(["", "32"])), Member(b"y", octets))
    whole = scan(octets)
    assert scan_cut(octets, range(1, len(octets))) == whole == scan_skipping(octets, rng), seed
    told |= {{found.detail for found in whole}}
assert held() == 0
print(*sorted(told & {{"octets", "ratio", "depth"}}))
"""


@pytest.mark.parametrize(("total", "told"), [(3_000, ""), (75_000, "octets ratio"), (64 << 20, "depth octets ratio")])
def test_limits_do_not_depend_on_the_cut(total: int, told: str) -> None:
    """With small limits, which the core copies when it is imported."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SMALL.format(total=total)], env=env, capture_output=True, text=True)
    assert (done.stderr, done.stdout.strip()) == ("", told)
