"""What holds for the rows of all inspectors, and of the one that is built in."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from inspecting import NOT_EVALUATED
from smtpinspect.actions import Strength
from smtpinspect.facts import KINDS
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule
from smtpinspect.inspectors.mailguard import Mailguard
from smtpinspect.inspectors.settings import value
from smtpinspect.inspectors.smtp import Smtp
from smtpinspect.inspectors.sonicwall import SonicWall
from smtpinspect.inspectors.stormshield import Stormshield

SPECS = [
    *(f"mailguard:{profile}" for profile in Mailguard.profiles),
    *(f"stormshield:{profile}" for profile in Stormshield.profiles),
    "smtp",
    "sonicwall,extended_packers=on,block_multiple_compress_files=on",
    "mailguard:asa-8,special_character=on,mail_relay=example.net,address_malicious=\\|",
    "mailguard:asa-8,match=body length gt 1 -> log+header length gt 1 -> log+header to-fields count gt 1 -> log"
    "+invalid-recipients count gt 1 -> log+mime filetype regex x -> log+mime encoding 8bit -> log"
    "+sender-address regex x -> log+cmd verb VRFY -> log",
    "stormshield,mode=advertised,allow_smtputf8=on,scope=message+envelope,deny_op=TURN,allow_op=MAIL"
    ",filter_chunked_extension=on,filter_exchange_extensions=on,filter_turning_extensions=on"
    ",filter_pipelining_extension=on,outstanding_pipelined_request_limit=3",
]


def every_row() -> Iterator[tuple[str, Rule]]:
    for spec in SPECS:
        for row in registry.load(spec).table():
            yield spec, row


@pytest.mark.parametrize("spec", SPECS)
def test_every_row_has_what_it_needs(spec: str) -> None:
    inspector = registry.load(spec)
    assert inspector.table()
    for row in inspector.table():
        assert re.fullmatch(rf"{inspector.name}\.[a-z0-9-]+(\.[a-z0-9-]+)?", row.id)
        assert row.basis in ("confirmed", "inferred", "project")
        assert row.title
        assert row.when.kind in KINDS
        assert row.kind == "emulate" or row.action.strength <= Strength.ALARM
        assert row.source
        for source in row.source.split("; "):
            assert source in inspector.sources, f"{row.id}: {source}"
        assert row.basis in {"confirmed", "inferred"} or "project" in row.source
        page = inspector.pages[row.id]
        assert row.signature_id == page.signature_id
        for source in page.sources:
            assert source in inspector.sources, f"{row.id}: {source}"


def test_inspectors_can_be_pickled() -> None:
    for spec in SPECS:
        made = registry.load(spec)
        again = pickle.loads(pickle.dumps(made))
        assert again.settings == made.settings
        assert [r.id for r in again.table()] == [r.id for r in made.table()]


def test_signature_ids_are_unique_and_in_their_range() -> None:
    for cls, low in ((Mailguard, 2001000), (Stormshield, 2002000), (SonicWall, 2003000), (Smtp, 2004000)):
        numbers = [page.signature_id for page in cls.pages.values()]
        assert len(set(numbers)) == len(numbers)
        assert all(low <= number < low + 1000 for number in numbers)
        assert cls.gid == low // 1000


def test_signature_ids_stay_what_they_were() -> None:
    """A number that a log or a filter holds never comes to mean another rule."""
    assert Mailguard.pages["mailguard.banner-masked"].signature_id == 2001000
    assert Mailguard.pages["mailguard.postfix-workaround-seen"].signature_id == 2001027
    assert Stormshield.pages["stormshield.smtp-231"].signature_id == 2002009
    assert SonicWall.pages["sonicwall.scan-limit"].signature_id == 2003005
    assert Smtp.pages["smtp.smuggling-lf-dot-lf"].signature_id == 2004002


def test_every_page_has_a_row_in_some_spec() -> None:
    found = {row.id for _, row in every_row()}
    for cls in (Mailguard, Stormshield, SonicWall, Smtp):
        assert set(cls.pages) <= found | {"stormshield.smtp-223"} | NOT_EVALUATED


def test_knobs_and_profiles_fit() -> None:
    for cls in (Mailguard, Stormshield, SonicWall, Smtp):
        for profile, given in cls.profiles.items():
            assert set(given) <= set(cls.knobs), profile
            for key, wanted in given.items():
                assert value(cls.knobs[key], key, wanted, cls.name) == wanted
        for key, knob in cls.knobs.items():
            assert re.fullmatch(r"[a-z0-9_]+", key)
            assert knob.meaning
            for source in filter(None, knob.source.split("; ")):
                assert source in cls.sources, key
        assert set(cls.hints.values()) <= set(cls.profiles)


def test_the_built_in_inspector_only_tells() -> None:
    (always,) = registry.always()
    assert always.name == "smtp"
    assert {row.kind for row in always.table()} == {"seen"}
    assert {row.action.strength for row in always.table()} == {Strength.ALARM}
    assert len([row for row in always.table() if "smuggling" in row.id]) == 12
