from collections.abc import Iterable

from smtpinspect._core.pcapfile import Source
from smtpinspect._core.records import Sink
from smtpinspect._core.rows import Program
from smtpinspect._core.tape import _Listener
from smtpinspect.errors import CaptureError

class Replay:
    def __init__(
        self,
        source: Source,
        program: Program,
        sink: Sink,
        ports: Iterable[int],
        tape: _Listener | None = None,
        secrets: bool = False,
    ) -> None: ...
    @property
    def packets(self) -> int: ...
    @property
    def octets(self) -> int: ...
    @property
    def bad_frames(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def done(self) -> bool: ...
    @property
    def unknown_links(self) -> set[int]: ...
    @property
    def fault(self) -> CaptureError | None: ...
    def step(self, frames: int) -> bool: ...
    def finish(self) -> None: ...
