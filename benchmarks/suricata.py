"""Suricata as a peer: its configuration, and whether it did the work.

The configuration gives it SMTP alone, and no reason to leave out a part of it:

- one runmode `single`, no rules: parsing and records, nothing else is paid for; every other protocol is off.
- eve `smtp` records, one for each mail, with the fields of `extended`. They go to /dev/null, as ours do, and to a
  file in one more run, which is checked. `stats` take no time that can be measured.
- stream depth 0: at the default of 1 MB, most of a large mail would not be looked at. Memory caps far above need.
- checksums are not verified, as they are not by smtpinspect.
- no pick-up mid-stream: no capture lacks a SYN.
- MIME on decodes base64 and quoted-printable and looks for links, which are the defaults; the body's MD5 is not taken
  (13% more on mixed). MIME off is the same without.
- the flow table's size, preallocation and packet pool are the defaults; larger ones were slower.

It gives a connection up at the first hole in it (`app_layer.error.smtp.gap`), so of hostile it judges less than we do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from chroot import Root
from corpora import Corpus
from process import Failed, Program, Run, run

YAML = """\
%YAML 1.1
---
stats:
  enabled: yes
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: {out}
      types:
        - smtp:
            extended: yes
        - stats:
            totals: yes
            threads: no
app-layer:
  protocols:
{others}    smtp:
      enabled: yes
      raw-extraction: no
      mime:
        decode-mime: {mime}
        decode-base64: {mime}
        decode-quoted-printable: {mime}
        extract-urls: {mime}
        body-md5: no
stream:
  memcap: 4gb
  midstream: no
  checksum-validation: no
  reassembly:
    memcap: 4gb
    depth: 0
flow:
  memcap: 2gb
"""
OTHERS = """\
bittorrent-dht dcerpc dhcp dnp3 dns doh2 enip ftp http http2 ike imap krb5 ldap mdns modbus mqtt nfs ntp pgsql pop3
quic rdp rfb sip smb snmp ssh telnet tftp tls websocket""".split()
LIMITS = """\
tcp.ssn_memcap_drop tcp.segment_memcap_drop tcp.no_flow tcp.stream_depth_reached tcp.pseudo_failed flow.memcap
flow.emerg_mode_entered tcp.midstream_pickups app_layer.error.smtp.alloc app_layer.error.smtp.parser
app_layer.error.smtp.internal""".split()
"""counters of work left out"""
EVE = "eve.json"
SHORT = {False: 0.99, True: 0.9}
"""records per mail that are wanted: of a whole capture, and of one that misses frames"""


def programs(root: Root, held: Corpus, scratch: Path) -> Iterator[Program]:
    for mime in "off", "on":
        folder = scratch / f"suricata-{mime}"
        folder.mkdir(exist_ok=True)
        measured = _command(root, folder, mime == "on", "/dev/null")
        checked = _command(root, folder, mime == "on", EVE)
        yield Program(
            f"Suricata, MIME {mime}", measured, notes=partial(_notes, checked, folder / EVE, held, mime == "on")
        )


def _command(root: Root, folder: Path, mime: bool, out: str) -> Callable[[Path], list[str]]:
    yaml = folder / f"{Path(out).stem}.yaml"
    others = "".join(f"    {name}:\n      enabled: no\n" for name in OTHERS)
    yaml.write_text(YAML.format(others=others, mime="yes" if mime else "no", out=out))
    fixed = ["-k", "none", "--runmode", "single", "-S", "/dev/null"]
    return lambda capture: root.words(["suricata", "-c", yaml, "-r", capture, "-l", folder, *fixed])


def _notes(
    command: Callable[[Path], list[str]], eve: Path, held: Corpus, mime: bool, measured: Run
) -> dict[str, object]:
    """One more run, which keeps its records: how many of how many mails, and what it says that it left out."""
    eve.unlink(missing_ok=True)
    run(command(held.path))
    records = attached = 0
    stats: dict[str, Any] = {}
    with eve.open() as lines:
        for line in lines:
            told = json.loads(line)
            if told["event_type"] == "stats":
                stats = told["stats"]
            else:
                records += "mail_from" in told["smtp"]  # some connections end in a record of no mail
                attached += len(told.get("email", {}).get("attachment", ()))
    eve.unlink()
    frames, gaps = _counter(stats, "decoder.pkts"), _counter(stats, "app_layer.error.smtp.gap")
    left_out = {name: count for name in LIMITS if (count := _counter(stats, name))}
    found: dict[str, object] = {"records": records, "mails": held.mails, "attachments": attached, "gaps": gaps}
    if frames != held.frames or left_out or records < SHORT[held.lost > 0] * held.mails:
        raise Failed(f"did other work: {frames} of {held.frames} frames, {found}, {left_out}")
    if mime is not (attached > 0) and held.profile != "chatty":  # which has no attachments
        raise Failed(f"MIME {'on' if mime else 'off'}, but {attached} attachments were told")
    return found


def _counter(stats: dict[str, Any], name: str) -> int:
    at: Any = stats
    for word in name.split("."):
        at = at.get(word, 0) if isinstance(at, dict) else 0
    return int(at) if isinstance(at, int) else 0
