"""The sample configurations, and what has to be read out of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smtpinspect.inspectors import registry
from smtpinspect.inspectors.configuration import Configuration
from smtpinspect.inspectors.mailguard import config as cisco
from smtpinspect.inspectors.sonicwall import config as sonicwall
from smtpinspect.inspectors.stormshield import config as stormshield

CONFIGS = Path(__file__).parent / "configs"
READERS = {"mailguard": cisco.read, "stormshield": stormshield.read, "sonicwall": sonicwall.read}
DEFAULT = "class-map inspection_default\n match default-inspection-traffic\n"
POLICY = f"{DEFAULT}policy-map global_policy\n class inspection_default\n  inspect esmtp%s\n"
BOUND = "service-policy global_policy global\n"

OWN = (
    "body length gt 50000000 -> log",
    "body line length gt 2000 -> log",
    "cmd line length gt 1024 -> drop-connection log",
    "cmd RCPT count gt 200 -> drop-connection",
    "cmd verb VRFY EXPN -> mask log",
    "ehlo-reply-parameter others size -> mask",
    "header length gt 65536 -> drop-connection log",
    "header line length gt 4096 -> drop-connection log",
    "header to-fields count gt 500 -> reset log",
    "invalid-recipients count gt 10 -> rate-limit 20",
    "mime filetype regex application/x-ms download -> reset",
    "mime filename length gt 300 -> drop-connection log",
    "not mime encoding 7bit quoted-printable base64 -> log",
    r"sender-address regex (@(spam|bulk)\.example)|(^$) -> drop-connection log",
    "sender-address length gt 254 -> drop-connection log",
)
NO_MAP = {"limits": "none", "ehlo_mask": "none"}
MG = "mailguard"
SNS = "stormshield"

# file: product, profile, active, ports, keys
EXPECTED: dict[str, tuple[str, str, bool, tuple[int, ...], dict[str, Any]]] = {
    "pix-4.0.txt": (MG, "pix-4.0", True, (25,), {}),
    "pix-4.4.txt": (MG, "pix-4.4", True, (25,), {"early_data_bypass": True}),
    "pix-5.3.txt": (MG, "pix-5", True, (25,), {"early_data_bypass": False}),
    "pix-6.1-absent.txt": (MG, "pix-6", False, (), {"early_data_bypass": False}),
    "pix-6.3-off.txt": (MG, "pix-6", False, (), {"early_data_bypass": False}),
    "pix-6.3-ports.txt": (MG, "pix-6", True, (25, 587, 2525, 2527), {"early_data_bypass": False}),
    "pix-6.3-without-port.txt": (MG, "pix-6", True, (25,), {"early_data_bypass": False}),
    "fwsm-2.3.txt": (MG, "pix-6", True, (25,), {}),
    "fwsm-3.txt": (MG, "fwsm-3", True, (25,), {"inspect": "smtp"}),
    "asa-7.0.txt": (MG, "asa-7.0", True, (25,), {}),
    "asa-default.txt": (MG, "asa-9-tls", True, (25,), {}),
    "asa-own-map.txt": (
        MG,
        "asa-8",
        True,
        (25, 2525, 1025, 1026, 1027),
        NO_MAP
        | {
            "mask_banner": False,
            "allow_tls": "log",
            "mail_relay": ("example.net",),
            "mail_relay_action": "drop-connection",
            "special_character": True,
            "special_character_action": "log",
            "match": OWN,
        },
    ),
    "asa-all.txt": (
        MG,
        "asa-9-tls",
        True,
        (25,),
        {
            "mask_banner": True,
            "mail_relay": (),
            "special_character": False,
            "allow_tls": "on",
            "limits": "default-map",
        },
    ),
    "asa-unbound.txt": (MG, "asa-8", False, (), {}),
    "asa-interface.txt": (
        MG,
        "asa-9-tls",
        True,
        (25,),
        NO_MAP
        | {
            "mask_banner": False,
            "allow_tls": "off",
            "match": ("header line length gt 2000 -> drop-connection log",),
        },
    ),
    "asa-contexts.txt": (
        MG,
        "asa-9-tls",
        True,
        (25,),
        NO_MAP
        | {
            "mask_banner": False,
            "allow_tls": "on",
            "match": ("header line length gt 4096 -> drop-connection log",),
        },
    ),
    "asa-fixup.txt": (MG, "asa-8", True, (25,), {"dkim_bug": True}),
    "asa-strange.txt": (
        MG,
        "asa-9-tls",
        True,
        (25,),
        NO_MAP | {"match": ("cmd RCPT count gt 50 -> drop-connection log",)},
    ),
    "asa-session.txt": (
        MG,
        "asa-9-tls",
        True,
        (25,),
        NO_MAP
        | {
            "mask_banner": False,
            "allow_tls": "on",
            "match": ("cmd line length gt 2048 -> drop-connection log",),
        },
    ),
    "ftd.txt": (MG, "asa-9-tls", True, (25,), {}),
    "stormshield-show.txt": (
        SNS,
        "",
        True,
        (),
        {
            "122.action": "block",
            "122.level": "minor",
            "217.action": "pass",
            "217.level": "major",
            "219.action": "pass",
            "219.level": "ignore",
            "223.action": "block",
            "223.level": "minor",
            "231.action": "pass",
            "231.level": "minor",
            "sensitive": ("122", "217", "223"),
        },
    ),
    "stormshield-commands.txt": (
        SNS,
        "internet",
        False,
        (),
        {
            "217.action": "pass",
            "217.level": "minor",
            "header_line_limit": 4096,
            "command_line_limit": 4096,
            "server_line_limit": 4096,
            "state": False,
            "level": "firewall",
        },
    ),
    "stormshield-sections.txt": (
        SNS,
        "low",
        True,
        (),
        {
            "state": True,
            "header_line_limit": 1000,
            "command_line_limit": 512,
            "bdat_size": 102_400,
            "xexch50_size": 1_073_741_824,
            "filter_chunked_extension": True,
            "filter_exchange_extensions": True,
            "filter_turning_extensions": False,
            "filter_pipelining_extension": False,
            "outstanding_pipelined_request_limit": 20,
            "allow_op": ("XFORWARD", "XCLIENT"),
            "deny_op": ("VRFY", "EXPN"),
        },
    ),
    "stormshield-ids.txt": (SNS, "", True, (), {"header_line_limit": 3000, "level": "ids"}),
    "sonicwall-base.json": (
        "sonicwall",
        "",
        True,
        (),
        {
            "password_protected_zip": True,
            "ms_office_macros": False,
            "packed_executables": True,
            "smtp_responses": False,
            "inbound_inspection": True,
            "outbound_inspection": False,
            "detection_only": False,
            "scan_high_compression": True,
            "block_multiple_compress_files": True,
        },
    ),
}
FILES = sorted(EXPECTED)
INSTALLED = [name for name in FILES if EXPECTED[name][0] in registry.BUILT_IN]


def text_of(name: str) -> str:
    return (CONFIGS / name).read_text(encoding="utf-8")


def read(text: str, product: str = MG) -> Configuration:
    made = READERS[product](text)
    assert made is not None
    return made


def told(made: Configuration) -> tuple[object, ...]:
    return made.product, made.profile, made.active, made.ports, dict(made.keys)
