from smtpinspect._core.tape import Tape
from smtpinspect._core.verdicts import Verdicts

def sizes() -> dict[str, int]: ...

class Dialogue:
    def __init__(self, verdicts: Verdicts, tape: Tape) -> None: ...
