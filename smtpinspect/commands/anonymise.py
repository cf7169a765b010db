"""`smtpinspect anonymise`: a capture that can be shown to others, with the same verdicts."""

from __future__ import annotations

import os
from typing import Final

from smtpinspect.commands.arguments import PORTS, inspectors_of, parser_of, ports
from smtpinspect.commands.console import DONE, MATCHED, check_output, text_out, unreadable
from smtpinspect.errors import UsageError

ANONYMISE_HELP: Final = """\
OUT holds the packets of IN's SMTP connections, and nothing else, as a pcap of
IP packets: link headers, comments, names of interfaces and other protocols are
gone, IP fragments are joined.

kept:     times, lengths, segment borders, repetitions, ports, sequence numbers,
          TTL, IP ids, flow labels, TCP's own options with their time stamps
          (which tell a host's uptime); SMTP commands, keywords and reply codes,
          wording of replies that mail servers share; names of known header
          fields, MIME types, charsets, encodings; file extensions; dates of
          header fields and greetings, status codes; what of attachments the
          rules go by (records of a ZIP, directory of a compound file, headers,
          imports and entry point of a program)
replaced: addresses (common prefixes stay common; private, loopback and
          multicast networks stay what they are), every other word and number,
          by ones of the same length and the same classes of bytes (letters,
          digits, 8-bit), the same always by the same; in names, addresses,
          subjects and texts every word without exception; also where they are
          written as =53, %53 or &#83;, s p a c e d, in base64 or in UTF-16
          (what is base64 by its look: by other base64)
lost:     what TLS carries (zeros), what an archive's packed members hold: rules
          on an archive or a program inside of one fire no longer

An OUT that exists is overwritten. Then both captures are replayed, and it is
told which verdicts are not the same.
The key is random and forgotten; --key makes several captures consistent. Who
knows the key, or a part of the texts, can recognise words: keep it to yourself,
and look at OUT before you send it (smtpinspect transcript OUT).

examples:
  smtpinspect anonymise mail.pcap public.pcap
  smtpinspect anonymise --key "$(cat secret)" inside.pcap inside-public.pcap

exit status: 0 done, all verdicts are the same; 1 some are not (OUT is written
all the same); 2 wrong usage; 3 IN could not be read to its end (what was read
is in OUT)
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect anonymise` with these words; its exit status."""
    parser = parser_of(
        "anonymise", "Replace names, texts and addresses in a capture; verdicts stay the same.", ANONYMISE_HELP
    )
    parser.add_argument("capture", metavar="IN", help="pcap or pcapng, plain or packed")
    parser.add_argument("out", metavar="OUT", help="the pcap to write")
    parser.add_argument("--key", metavar="TEXT", help="the same key replaces the same by the same (default: random)")
    inspectors_of(parser)
    ports(parser)
    given = parser.parse_intermixed_args(words)
    if given.capture == "-":
        raise UsageError("IN is read several times: a file is wanted, not standard input")
    check_output(given.out, [given.capture], "OUT")
    overwritten = os.path.exists(given.out)

    from smtpinspect.diagnose.anonymise.face import anonymise, key_of
    from smtpinspect.report.anonymise_page import page

    done = anonymise(
        given.capture, given.out, key=key_of(given.key), inspectors=given.inspectors, ports=given.port or PORTS
    )
    with text_out(None) as (out, width, style):
        for line in page(done, given.capture, given.out, width, style, overwritten=overwritten):
            print(line, file=out)
    if done.fault is not None:
        return unreadable(done.fault)
    return DONE if done.compared.same else MATCHED
