"""Look-alikes built of real mail servers: what breaks a mail as a content rule does and is none, shown to `diagnose`.

    alikes.py [--only PATTERN] [--jobs N] [--judge]

A table goes to standard output and build/lab/alikes.txt; what each run left lies in build/lab/alikes/NAME/.
Exit status: 0 each is found at or near the top and no rule is more than possible, 1 not each, 3 it cannot run here.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "pcaps" / "recipe"), str(ROOT)]

import alike_scenes  # noqa: E402
import namespaces  # noqa: E402
import network  # noqa: E402
import play  # noqa: E402
from alike_scenes import CONTRAST, SCENES, Lab, Scene  # noqa: E402
from rows import TIMEOUTS  # noqa: E402
from senders import SENDERS  # noqa: E402
from smtpinspect.diagnose.face import Asked, diagnose  # noqa: E402
from smtpinspect.diagnose.model import Case  # noqa: E402

BUILD = ROOT / "build" / "lab" / "alikes"
NEAR = 3  # places from the top
LONGEST = 300  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Look-alikes of a content break, and what diagnose makes of them.")
    parser.add_argument("--only", metavar="PATTERN", default="")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--judge", action="store_true", help="judge what the last time has left")
    options = parser.parse_args()
    chosen = [scene for scene in (*SCENES, CONTRAST) if re.search(options.only, scene.name)]
    if not options.judge:
        if namespaces.lacking():
            return 3
        namespaces.enter()
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(_played, chosen))
    lines = [line for scene in chosen for line in judged(scene)]
    text = "\n".join(line for line, _ in lines) + "\n"
    right = sum(right for _, right in lines)
    text += f"{len(chosen)} scenes, {right} of {len(lines)} captures right\n"
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD.parent / "alikes.txt").write_text(text)
    print(text, end="")
    return 0 if right == len(lines) else 1


def _played(scene: Scene) -> None:
    folder = BUILD / scene.name
    namespaces.alone(folder, Path(__file__), ["--one", scene.name, str(folder)], LONGEST)


def one(scene: Scene, folder: Path) -> None:
    """In namespaces of its own: the server, what is wrong on the way, the mail."""
    row = scene.row
    hostname = SENDERS[row.client].hostname if row.client in SENDERS else "out.example.com"
    subprocess.run(["hostname", hostname], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    client, server = play.hosts(row, hostname, Path(os.environ["LAB_BASES"]))
    network.build(client, server, routed=True)
    (folder / "received").mkdir()
    lab = Lab(client, server, threading.Event())
    with ExitStack() as stack:
        stack.callback(play.keep_logs, row, client, server, folder)
        if scene.before is not None:
            scene.before(lab)
        if scene.serves:
            play.serve(row, server, folder / "received")
        if scene.prepare is not None:
            scene.prepare(lab)
        for host in (client, server):
            stack.enter_context(play.recorded(host, folder, what="tcp or icmp"))
        stack.enter_context(play.capturing([], "any", folder / "router.pcap", length=2000, what="tcp or icmp"))
        beside = threading.Thread(target=scene.meanwhile, args=(lab,), daemon=True) if scene.meanwhile else None
        if beside:
            beside.start()
        if row.box:
            play.stand_between(row)
        for number in range(len(scene.letters) or scene.mails):
            _send(scene, lab, number)
        lab.over.set()
        if beside:
            beside.join(30)
        time.sleep(scene.linger)


def _send(scene: Scene, lab: Lab, number: int) -> None:
    """A mail; what a client that never ends has to say is not waited for."""
    row = scene.row
    if row.client not in SENDERS:
        print(play.send(row, lab.client))
        return
    sender = SENDERS[row.client]
    mail = alike_scenes.mail_of(scene, lab.client, number)
    settings = sender.shortened(TIMEOUTS) | dict(row.settings)
    relay = scene.letters[number][1] if scene.letters else play.SERVER
    sender.deliver(lab.client, relay, [mail], settings, user="root")
    network.wait_until(lambda: sender.is_over(lab.client, ""), "the attempt ends", 90)


def judged(scene: Scene) -> Iterator[tuple[str, bool]]:
    """A line for each side's capture."""
    if scene is CONTRAST:
        yield _contrasted(BUILD / scene.name / "client.pcap")
        return
    for side, names in (("client", scene.client), ("server", scene.server)):
        if names is not None:
            yield _line(scene, side, names)
    yield _routed(scene)


def _line(scene: Scene, side: str, names: tuple[str, ...]) -> tuple[str, bool]:
    file = BUILD / scene.name / f"{side}.pcap"
    head = f"{scene.name:22} {side:6} "
    if not file.exists():
        return f"{head}WRONG no capture", False
    cases = [case for case in diagnose(Asked(str(file))).diagnosis.cases if case.failed and case.causes]
    if not cases:
        return f"{head}{'WRONG' if names else 'right'} nothing failed", not names
    case = cases[0]
    best = max((_strength(cause.confidence) for cause in case.causes if cause.kind == "rule"), default=0)
    places = [n for n, cause in enumerate(case.causes) if cause.cause in names]
    right = best <= _strength("possible") and (not names or (bool(places) and places[0] < NEAR))
    told = _told(case)
    found = f"place {places[0] + 1}" if places else "absent" if names else "any"
    return f"{head}{'right' if right else 'WRONG'} {found:8} {told}", right


def _routed(scene: Scene) -> tuple[str, bool]:
    """The router's capture: what it shows to have been done there, and the look-alikes that the client's side shows."""
    file = BUILD / scene.name / "router.pcap"
    cases = diagnose(Asked(str(file))).diagnosis.cases if file.exists() else []
    found = sorted({each.kind for case in cases for each in case.differences})
    if not file.exists() or (scene.here is not None and found != sorted(scene.here)):
        return f"{scene.name:22} router WRONG shows {', '.join(found) or 'nothing'} there", False
    text, right = _line(scene, "router", scene.client or ())
    return f"{text}; there: {', '.join(found) or '-'}", right


def _contrasted(file: Path) -> tuple[str, bool]:
    """The true rule stands first, those that an accepted mail trips are refuted, the Subject tells the ways apart."""
    failed = [case for case in diagnose(Asked(str(file))).diagnosis.cases if case.failed]
    if len(failed) != 1:
        return f"{CONTRAST.name:22} client WRONG {len(failed)} mails failed", False
    (case,) = failed
    first = [cause.cause for cause in case.causes if cause.rank == 0]
    fallen = {each.cause: each.text for each in case.against if each.kind == "refuted"}
    told = next((each for each in case.contrast if each.property == "raw 8-bit Subject"), None)
    right = first == ["stormshield.smtp-231"] and bool(fallen) and told is not None and told.accepted_elsewhere > 0
    text = f"{'right' if right else 'WRONG'} first {', '.join(first)}; refuted {fallen}; {told}"
    return f"{CONTRAST.name:22} client {text}", right


def _told(case: Case) -> str:
    seen = case.observed
    three = ", ".join(f"{cause.cause} {cause.confidence}" for cause in case.causes[:NEAR])
    out = sum(each.kind == "ruled-out" for each in case.against)
    return f"{seen.outcome} {seen.phase or '-'}: {three}; {out} ruled out"


def _strength(word: str) -> int:
    return ("", "unlikely", "possible", "likely", "certain").index(word)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(next(scene for scene in (*SCENES, CONTRAST) if scene.name == sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
