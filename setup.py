"""Builds the Cython core; everything else is in pyproject.toml."""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = sorted(
    name[:-4] for name in os.listdir(os.path.join("ext", "smtpinspect", "_core")) if name.endswith(".pyx")
)
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
}
LIBRARIES = {"inflate": ["z"]}
FLAGS = ["-O3", "-fno-strict-aliasing"] if sys.platform != "win32" else ["/O2"]
if os.environ.get("SMTPINSPECT_SANITIZE"):
    FLAGS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"smtpinspect._core.{name}",
                [f"ext/smtpinspect/_core/{name}.pyx"],
                include_dirs=["ext/smtpinspect/_core"],
                libraries=LIBRARIES.get(name, []),
                extra_compile_args=FLAGS,
                extra_link_args=["-fsanitize=address,undefined"]
                if os.environ.get("SMTPINSPECT_SANITIZE")
                else [],
            )
            for name in MODULES
        ],
        include_path=["ext"],
        compiler_directives=DIRECTIVES,
        nthreads=int(os.environ.get("SMTPINSPECT_JOBS", "0")),
    ),
)
