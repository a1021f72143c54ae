"""A fast BLAS under MLX's CPU backend.

MLX's Linux wheel carries the reference BLAS, which multiplies matrices tens of times slower than OpenBLAS
(`benchmarks/results/blas.md`). `activate` puts the OpenBLAS of the package scipy-openblas32 under the plain
routine names before MLX is loaded; the dynamic linker then binds MLX to it, with no LD_PRELOAD and no second
process. In: the home, whose `cache` folder keeps the small compiled library. Out: a `BlasInfo`. Nothing here
raises: where OpenBLAS cannot be had, MLX works as it is and `BlasInfo.reason` says how to mend that.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hashlib
import importlib.resources
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path

from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.train.cores import SAMPLE, Threads

REFERENCE = "reference BLAS"
MEND = "install a C compiler (gcc or clang) or the system package of OpenBLAS (libopenblas)"
# The prefixed names of scipy-openblas32, in the order of bind_blas in blas_forward.c.
ROUTINES = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "sgetrf_", "dgetrf_")


@dataclass(frozen=True)
class BlasInfo:
    """Which BLAS MLX runs on in this process."""

    name: str
    """`scipy-openblas32 VERSION`, `system OpenBLAS`, `reference BLAS`, `Accelerate` or `CUDA`."""
    path: Path | None
    """The library loaded for MLX, where one was."""
    reason: str
    """One sentence: why this one, and for the reference BLAS how to get a faster one."""

    @property
    def fast(self) -> bool:
        """Whether this is anything better than the reference BLAS."""
        return self.name != REFERENCE


_active: list[BlasInfo] = []
_threads: list[Threads] = []


def activate(home: Home) -> BlasInfo:
    """Put the fastest BLAS there is under MLX; call it before anything imports `mlx`.

    A second call answers what the first did. The first one on a machine compiles for about a second.
    """
    if not _active:
        _active.append(_choose(home))
    return _active[0]


def _choose(home: Home) -> BlasInfo:
    if sys.platform == "darwin":
        return BlasInfo("Accelerate", None, "MLX uses the BLAS and the GPU of macOS.")
    if any(found.name.startswith("mlx-cuda") for found in distributions()):
        return BlasInfo("CUDA", None, "MLX is installed for CUDA and multiplies on the GPU.")
    if "mlx.core" in sys.modules:
        return BlasInfo(
            REFERENCE,
            None,
            "MLX was imported before the fast BLAS could be loaded; call blas.activate first.",
        )
    try:
        return _scipy_openblas(home)
    except (TracemillError, OSError, AttributeError) as error:
        hindrance = str(error).rstrip(".")
    named = ctypes.util.find_library("openblas")
    if named is not None:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(named, mode=ctypes.RTLD_GLOBAL)
            _start_threads(library, "openblas_set_num_threads")
            return BlasInfo("system OpenBLAS", Path(named), f"{hindrance}; the system's OpenBLAS serves.")
    return BlasInfo(REFERENCE, None, f"{hindrance}; to train tens of times faster {MEND}.")


def _scipy_openblas(home: Home) -> BlasInfo:
    """Load the OpenBLAS of scipy-openblas32 and the forwarding library; an error where either is missing."""
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or spec.origin is None:
        raise TracemillError("The package scipy-openblas32 is not installed.")
    release = version("scipy-openblas32")
    openblas = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libscipy_openblas.so"))
    forward = compile_forward(home)
    library = ctypes.CDLL(str(forward), mode=ctypes.RTLD_GLOBAL)
    library.bind_blas(*(getattr(openblas, f"scipy_{name}") for name in ROUTINES))
    _start_threads(openblas, "scipy_openblas_set_num_threads")
    return BlasInfo(f"scipy-openblas32 {release}", forward, f"Its routines are forwarded through {forward}.")


def compile_forward(home: Home) -> Path:
    """The compiled blas_forward.c, cached in `home`; TracemillError where it cannot be compiled."""
    source = importlib.resources.files("tracemill.train").joinpath("blas_forward.c").read_bytes()
    key = hashlib.sha256(source + platform.machine().encode()).hexdigest()[:16]
    made = home.root / "cache" / f"blas_forward-{key}.so"
    if made.exists():
        return made
    compiler = find_compiler()
    if compiler is None:
        raise TracemillError("There is no C compiler to build the OpenBLAS forwarding library with.")
    home.ensure(made.parent)
    handle, name = tempfile.mkstemp(dir=made.parent, suffix=".so")
    os.close(handle)
    try:
        command = [*compiler, "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", name]
        done = subprocess.run(command, input=source, capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            told = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise TracemillError(f"The compiler {compiler[0]} failed on blas_forward.c: {told[-1]}")
        Path(name).chmod(0o600)
        Path(name).replace(made)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TracemillError(f"The compiler {compiler[0]} could not be run: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return made


def find_compiler() -> list[str] | None:
    """The command of a C compiler: `$CC`, cc, gcc, clang, `$CXX` or c++, the first that is there."""
    for named in (os.environ.get("CC"), "cc", "gcc", "clang", os.environ.get("CXX"), "c++"):
        command = shlex.split(named or "")
        if command and shutil.which(command[0]):
            return command
    return None


def adapt_threads() -> int | None:
    """Give OpenBLAS as many threads as there are cores that other programs leave free; returns how many.

    `activate` does it once; a long computation should do it again, between two evaluations of MLX and never
    during one. None where there is nothing to adapt, or where the user set OpenBLAS's own variables.
    """
    return _threads[0].adapt() if _threads else None


def one_thread() -> None:
    """Give OpenBLAS one thread, for computations that keep the cores busy by themselves.

    As `adapt_threads`, which takes it back: never during an evaluation of MLX.
    """
    if _threads:
        _threads[0].use(1)


def _start_threads(library: ctypes.CDLL, setter: str) -> None:
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        _threads.append(Threads(getattr(library, setter)))
        time.sleep(1.5 * SAMPLE)
        adapt_threads()
