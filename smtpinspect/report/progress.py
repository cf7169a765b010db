"""The progress line: octets, rate, time left, mails and alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from smtpinspect.engine import Engine


class _Line(Progress):
    """Asks the engine each time it is drawn: the loop over the records does nothing for it."""

    def __init__(self, engine: Engine, *columns: ProgressColumn) -> None:
        self.engine = engine
        super().__init__(*columns, console=Console(stderr=True), transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        octets, total, _, mails, alerts = self.engine.progress
        for task in self.task_ids:
            self.update(
                task, completed=octets, total=total or None, told=f"{mails:,} mails, {alerts:,} alerts"
            )
        yield from super().get_renderables()


def progress(engine: Engine) -> Progress:
    """Drawn on standard error from entering to leaving; nothing of it stays."""
    line = _Line(
        engine,
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[told]}"),
    )
    line.add_task("", total=None, told="")
    return line


def steps() -> Progress:
    """The same for work that is told in steps; drawn when it is told of one, so that nothing runs between them."""
    return Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )
