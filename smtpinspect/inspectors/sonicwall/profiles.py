"""SonicWall gateway anti-virus (GAV) on SMTP as tables.

The switches and their names are documented. No source tells the vendor's own match logic, the text behind
552, or what happens to the connection then: what stands here as `project` is this project's choice.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from smtpinspect.actions import (
    ALARM,
    CONFIRMED,
    DROP_FLOW,
    INFERRED,
    PROJECT,
    RESET,
    Action,
    Basis,
    Strength,
    answer,
)
from smtpinspect.inspectors.base import Evidence
from smtpinspect.inspectors.settings import Knob

SOURCES: Final = {
    "Altospam": "Configuring firewalls to avoid mail blocking",
    "GAV guide": "prevention by protocol",
    "SonicOS 5.8 guide": "5.8.1, p. 1235 and 1236",
    "SonicOS 7.1 guide": "Objects: Action Profiles, Anti-Virus",
    "SonicOS 7 API": "gateway-antivirus/base",
    "SonicOS 7 tests": "a public test library",
    "hardening lists": "two public check lists for SonicWall: tick `Disable SMTP Responses`",
    "AE-2": "WinZip AES encryption specification 1.04",
    "APPNOTE": "PKWARE .ZIP file format specification",
    "MS-OVBA": "2.2 and 2.3.4",
    "MS-PPT": "VbaInfoAtom",
    "UPX": "UPX source, src/conf.h and src/pefile.cpp",
    "Detect It Easy": "signatures of packers, db/PE (MIT licence)",
    "project": "no source decides: our choice",
}


class Restriction(NamedTuple):
    """A rule: the CONTENT kinds and details that trip it, and its evidence when it answers 552."""

    found: tuple[tuple[str, tuple[str, ...]], ...]
    evidence: Evidence


PACKERS: Final = ("UPX", "FSG", "PKLite32", "Petite", "ASPack")  # named by the vendor
EXTENDED: Final = ("PECompact", "MPRESS", "NsPack")

RESTRICTIONS: Final = {
    "encrypted-zip": Restriction(
        (("zip-encrypted", ("zipcrypto", "aes-128", "aes-192", "aes-256", "strong", "cd-encrypted", "")),),
        Evidence(INFERRED, "SonicOS 5.8 guide; GAV guide; AE-2; APPNOTE"),
    ),
    "office-macro": Restriction(
        (("ole-vba", ("compound", "powerpoint")), ("ooxml-vba", ("vbaProject",))),
        Evidence(INFERRED, "SonicOS 5.8 guide; GAV guide; MS-OVBA; MS-PPT"),
    ),
    "packed-exe": Restriction(
        (("pe-packed", PACKERS),),
        Evidence(INFERRED, "SonicOS 5.8 guide; GAV guide; UPX; Detect It Easy"),
    ),
    "packed-exe-extended": Restriction(
        (("pe-packed", EXTENDED),),
        Evidence(PROJECT, "SonicOS 5.8 guide; Detect It Easy; project"),
    ),
    "nested-archive": Restriction(
        (("archive-nested", ("zip", "gzip")),),
        Evidence(INFERRED, "SonicOS 7 API; SonicOS 5.8 guide"),
    ),
}
LIMITS: Final = ("depth", "ratio", "octets")  # of scan-limit
LIMIT: Final = Evidence(PROJECT, "SonicOS 7.1 guide; project")

REPLY: Final = b"552 5.7.0 Message blocked by gateway anti-virus"
# What a match does, under `on_match`: (strength, what is sent to the client, to the server, how sure).
# Documented is 552 and that the connection ends, for viruses; that restrictions go the same way is inferred.
ENDS: Final[dict[str, tuple[Action, Basis]]] = {
    "reply552-fin": (Action(Strength.ANSWER, "answer", {"client": "fin", "server": "rst"}), INFERRED),
    "reply552-rst": (Action(Strength.ANSWER, "answer", {"client": "rst", "server": "rst"}), INFERRED),
    "reset": (RESET, PROJECT),
    "drop": (DROP_FLOW, PROJECT),
    "log-only": (ALARM, INFERRED),
}


def ending(word: str, reply: bytes) -> Action:
    """What `on_match` means; the reply goes into those that answer."""
    made = ENDS[word][0]
    if made.strength != Strength.ANSWER:
        return made
    return Action(made.strength, made.how, {**answer(reply).params, **made.params})


def _switch(default: bool, meaning: str, basis: Basis = PROJECT, source: str = "SonicOS 7 API") -> Knob:
    return Knob("bool", default, meaning, basis=basis, source=source)


def _restrict(what: str) -> Knob:
    # On in the one body of settings that is public; not a vendor's statement, and older firmware may differ.
    return _switch(True, f"Restrict Transfer of {what}", source="SonicOS 5.8 guide; SonicOS 7 tests")


KNOBS: Final = {
    "password_protected_zip": _restrict("password-protected ZIP files"),
    "ms_office_macros": _restrict("MS-Office type files containing macros (VBA 5 and above)"),
    "packed_executables": _restrict("packed executable files (UPX, FSG, etc.)"),
    "packers": Knob(
        "list",
        PACKERS,
        "the packers that the guide names; more come with signature updates",
        PACKERS,
        basis=CONFIRMED,
        source="SonicOS 5.8 guide",
        aliases={name.lower(): name for name in PACKERS},
    ),
    "extended_packers": _switch(False, "PECompact, MPRESS and NsPack as well", source="SonicOS 5.8 guide"),
    "block_multiple_compress_files": _switch(
        False,
        "Block files with multiple levels of zip/gzip compression",
        source="SonicOS 7 API; SonicOS 7 tests",
    ),
    "smtp_responses": _switch(
        True,
        "off is `Disable SMTP Responses`: no 552",
        source="SonicOS 5.8 guide; SonicOS 7 tests; hardening lists",
    ),
    "detection_only": _switch(False, "log, and let it pass", source="SonicOS 7 API; SonicOS 7 tests"),
    "on_match": Knob(
        "word",
        None,
        "unset: log-only with detection_only, else reply552-fin, or reset without smtp_responses",
        tuple(ENDS),
        source="GAV guide; Altospam",
    ),
    "reply": Knob("octets", REPLY, "what the client reads; the wording is ours"),
    "inside": Knob(
        "networks", (), "networks behind the firewall; unset: every connection is taken for inbound"
    ),
    "inbound_inspection": _switch(
        True,
        "Inbound Inspection of SMTP: from outside, or between two hosts inside",
        source="SonicOS 5.8 guide; SonicOS 7 tests",
    ),
    "outbound_inspection": _switch(
        False, "Outbound Inspection of SMTP; needs inside=", source="SonicOS 5.8 guide; SonicOS 7 tests"
    ),
    "exclusions": Knob(
        "networks",
        (),
        "exclusion object of SMTP: as source or destination not looked at",
        source="SonicOS 7 API",
    ),
    "scan_high_compression": _switch(
        False,
        "scan parts of files with high compression ratios: in no verdict",
        source="SonicOS 7 API; SonicOS 7 tests",
    ),
}

PROFILES: Final[dict[str, dict[str, Any]]] = {"default": {}}
HINTS: Final = {"gen7": "default", "sonicos-7": "default", "high": "default"}
