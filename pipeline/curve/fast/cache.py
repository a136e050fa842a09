"""Compiled code on disk, in a folder of our choosing.

numba's own cache does not fit: it wants a writable source tree or home, does not see edits in an imported module, and never finds a
function again that closes over another compiled function. Here a folder belongs to one exact state of the sources, the versions
and the processor (its name is their digest), so whatever lies in it is right; several workers may fill it at once (files are
replaced whole), and one that cannot be written is only read.
"""

import hashlib
import pickle
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import structlog
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

from pipeline.curve.fast import processor

log = structlog.get_logger()

F = TypeVar("F", bound=Callable[..., Any])


class Compiler:
    """Compiles functions of one kernel, kept under `cache_dir` (None: only in memory).

    Call it with a function of integers and arrays to get the compiled one: nogil, compiled or loaded at its first call.
    """

    def __init__(self, cache_dir: Path | None, kernel: str) -> None:
        self._kernel = kernel
        self._folder = None if cache_dir is None else cache_dir / f"kernels-{digest()}" / kernel

    def __call__(self, function: F) -> F:
        """The compiled function."""
        # numba names a symbol by this name and a count that begins anew in every process. Without the kernel's name in it,
        # two kernels' functions that were compiled by two workers may have one symbol, and whoever loads both from the
        # folder calls the wrong one.
        function.__qualname__ = f"{self._kernel}.{function.__qualname__}"
        dispatcher: Any = numba.njit(nogil=True, boundscheck=False)(function)
        if self._folder is not None:
            dispatcher._cache = _DiskCache(function, self._folder, self._kernel)
        return cast(F, dispatcher)


@lru_cache(maxsize=1)
def digest() -> str:
    """Names everything that compiled code depends on: these sources, the versions, the processor."""
    here = Path(__file__).parent
    hasher = hashlib.sha256()
    for path in [*sorted(here.glob("*.py")), here.parent / "contract.py"]:
        hasher.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    versions = (platform.python_version(), numba.__version__, llvmlite.__version__, processor.description())
    hasher.update("\n".join(versions).encode())
    return hasher.hexdigest()[:16]


class _Implementation(CompileResultCacheImpl):
    """How numba writes a compiled function, without its search for a place."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Folder(folder)
        self._filename_base = f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")


class _Folder:
    """The part of a numba cache locator that is still asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._py_file = str(folder)

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)


class _DiskCache(FunctionCache):
    def __init__(self, function: Callable[..., Any], folder: Path, kernel: str) -> None:
        self._name = repr(function)
        self._py_func = function
        self._impl = _Implementation(function, folder)
        self._cache_path = str(folder)
        self._cache_file = IndexDataCacheFile(
            cache_path=str(folder), filename_base=self._impl.filename_base, source_stamp=folder.parent.name
        )
        self._log = log.bind(kernel=kernel, function=function.__name__, folder=str(folder))
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._log.warning("curve kernel cache is unreadable, compiling again", error=str(error))
            found = None
            with suppress(OSError):
                self.flush()
        if found is None:
            self._log.info("compiling curve kernel, some seconds; `flfleet warmup` does it ahead")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._log.warning("curve kernel cache cannot be written, compiling again at every start", error=str(error))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # The folder's name covers what else numba would look at.
        return sig, codegen.magic_tuple()
