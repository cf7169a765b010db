from collections.abc import Iterable

from smtpinspect._core.records import Sink
from smtpinspect._core.replay import Replay
from smtpinspect._core.rows import Program
from smtpinspect._core.sources import Source

FIRED: int
UNREAD: int
OPEN: int
COMMANDS: int
GREETING: int
REPLIES: int

# `Watcher.standing` tells what each is
OfSide = tuple[int | None, int, int, int]
Standing = tuple[int, OfSide, OfSide, bool, int]

class Pushed(Source):
    def __init__(self) -> None: ...

class Watcher(Replay):
    def __init__(
        self, program: Program, sink: Sink, ports: Iterable[int], units: int = 0, secrets: bool = False
    ) -> None: ...
    def push(self, ns: int, packet: bytes) -> int: ...
    def standing(self) -> Standing | None: ...
