"""Where a peer's program is: on the PATH, or in another root, such as one that debootstrap made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Mounts of a namespace of its own: they end with the process, also when it is killed. MNT is empty by the FHS.
ENTER = """\
root=$1 && shift && mount -t tmpfs none "$root/mnt" || exit
while [ "$1" != -- ]; do mkdir "$root/mnt/$2" && mount --bind "$1" "$root/mnt/$2" && shift 2 || exit; done
shift && exec chroot "$root" "$@"
"""
PLACES = "usr/local/sbin usr/local/bin usr/sbin usr/bin sbin bin".split()

Words = Sequence[str | Path]


@dataclass(frozen=True)
class Root:
    folder: Path | None
    """None is the root we are in"""
    shown: tuple[Path, ...]
    """folders whose files a program in another root needs"""

    def has(self, program: str) -> bool:
        if self.folder is None:
            return shutil.which(program) is not None
        return any((self.folder / place / program).exists() for place in PLACES)

    def words(self, words: Words) -> list[str]:
        """The command line, with the files of shown folders by the names that they have there."""
        if self.folder is None:
            return [str(word) for word in words]
        namespace = ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
        mounts = [word for number, shown in enumerate(self.shown) for word in (str(shown), str(number))]
        return [
            *("unshare", *namespace, "sh", "-c", ENTER, "sh", str(self.folder), *mounts, "--"),
            *(self._inside(word) if isinstance(word, Path) else word for word in words),
        ]

    def _inside(self, path: Path) -> str:
        for number, shown in enumerate(self.shown):
            if path.is_relative_to(shown):
                return str(Path("/mnt", str(number), path.relative_to(shown)))
        return str(path)
