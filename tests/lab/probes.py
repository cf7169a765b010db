"""`smtpinspect probe` against real servers, bare and behind every MailGuard generation.

    probes.py [--only PATTERN] [--jobs N]

A table goes to standard output and build/lab/probes.txt. Exit status: 0 all right, 1 not all, 3 it cannot run here.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "pcaps" / "recipe"), str(ROOT)]

import namespaces  # noqa: E402
import network  # noqa: E402
import play  # noqa: E402
from rows import TYPED, Row  # noqa: E402
from smtpinspect.inspectors.mailguard.profiles import PROFILES  # noqa: E402

BUILD = ROOT / "build" / "lab" / "probes"
KEY = "/etc/server.pem"
LONGEST = 180  # seconds
TLS = {
    "postfix": {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": KEY},
    "exim": {"tls_advertise_hosts": "*", "tls_certificate": KEY},
    "opensmtpd": {},
}
# The setting of a box, and the generations of which one must be named; none: no MailGuard. What must not be told apart:
# pix-5 and pix-6 differ in bugs only, asa-7.0 and asa-8 in limits.
SAME = ({"pix-5", "pix-6"}, {"asa-7.0", "asa-8"})
BOXES = {
    "bare": ("", ()),
    **{name: (f"mailguard:{name}", (name,)) for name in PROFILES},
    "pix-6-noop": ("mailguard:pix-6,deny_style=noop", ("pix-6",)),
    "pix-4.4-xxxx": ("mailguard:pix-4.4,deny_style=xxxx-verb", ("pix-4.4",)),
    "pix-4.0-literal": (r"mailguard:pix-4.0,deny_reply=OK\r\n", ("pix-4.0",)),
}
SERVERS = ("postfix", "postfix-tls", "exim", "exim-tls", "opensmtpd")


def rows() -> list[Row]:
    made = []
    for server in SERVERS:
        mta, _, tls = server.partition("-")
        for name, (spec, _) in BOXES.items():
            made.append(
                Row(
                    name=f"probe-{server}-{name}", group="probe", judged="", client=TYPED, server=mta,
                    box=("-i", spec) if spec else (), server_settings=TLS[mta] if tls else {},
                )
            )  # fmt: skip
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="The probe against real servers.")
    parser.add_argument("--only", metavar="PATTERN", default="")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    options = parser.parse_args()
    if namespaces.lacking():
        return 3
    namespaces.enter()
    chosen = [row for row in rows() if re.search(options.only, row.name)]
    with ThreadPoolExecutor(options.jobs) as pool:
        lines = list(pool.map(_line, chosen))
    text = "\n".join(line for line, _ in lines) + "\n"
    right = sum(right for _, right in lines)
    text += f"{right} of {len(lines)} right\n"
    (BUILD.parent / "probes.txt").write_text(text)
    print(text, end="")
    return 0 if right == len(lines) else 1


def _line(row: Row) -> tuple[str, bool]:
    folder = BUILD / row.name
    namespaces.alone(folder, Path(__file__), ["--one", json.dumps(asdict(row)), str(folder)], LONGEST)
    try:
        told = json.loads((folder / "probe.json").read_text())
    except (OSError, ValueError):
        return f"{row.name:32} no answer: {(folder / 'play.log').read_text()[-200:]!r}", False
    want = BOXES[row.name.removeprefix("probe-").removeprefix(row.server).removeprefix("-tls").removeprefix("-")][1]
    got = told["profiles"]
    right = told["mailguard"] == ("yes" if want else "no") and set(want) <= set(got)
    for same in SAME:
        right = right and (not same & set(got) or same <= set(got))
    return f"{row.name:32} {'right' if right else 'WRONG':6} {told['mailguard']:8} {' '.join(got)}", right


def one(text: str, folder: Path) -> None:
    """In namespaces of its own: the server, the box, the probe."""
    row = Row(**json.loads(text))
    subprocess.run(["hostname", "out.example.com"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    client, server = play.hosts(row, "out.example.com", Path(os.environ["LAB_BASES"]))
    network.build(client, server, routed=True)
    assert server.root is not None
    pem = server.root / KEY.lstrip("/")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx.example.net", "-days", "2"]
    subprocess.run([*made, "-keyout", str(pem), "-out", f"{pem}.crt"], check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    pem.chmod(0o644)
    try:
        play.serve(row, server, folder)
        play.stand_between(row)
        command = [sys.executable, "-m", "smtpinspect", "probe", play.SERVER, "--helo", "out.example.com"]
        done = subprocess.run(client.tool(*command, "--format", "json"), capture_output=True, check=False)
        (folder / "probe.json").write_bytes(done.stdout)
        sys.stderr.buffer.write(done.stderr)
    finally:
        play.keep_logs(row, client, server, folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
