"""Loops compiled to machine code by Numba, where NumPy would need tens of passes over small arrays.

Code is compiled when a module is imported and kept in `<user cache>/seg_perception/compiled` (NUMBA_CACHE_DIR moves it), so
that it takes some ten seconds once and nothing is compiled while a vehicle drives. The kept code is used while all files of the
function's folder are unchanged: constants of other folders come in as arguments.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import platformdirs

from seg_perception.paths import changeable_by_others

Function = TypeVar('Function', bound=Callable[..., Any])
OPTIONS = {'nogil': True, 'error_model': 'numpy', 'no_cfunc_wrapper': True}
IMAGE = numba.types.Array(numba.types.uint8, 2, 'A', readonly=True)
"""An image of one channel as engines give it: maybe a part of a larger one, maybe not to be written."""


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Compile a function for the types of a Numba signature such as 'int8[:, ::1](uint8[:, :], float64)', or of `numba.types`.

    Indices are checked against the size of arrays only where NUMBA_BOUNDSCHECK is 1. The interpreter's lock is not held.
    """

    def decorate(function: Function) -> Function:
        directory = _directory(Path(function.__code__.co_filename).parent)
        if directory is None:
            return cast(Function, numba.njit(signature, **OPTIONS)(function))
        given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(directory)
        try:
            return cast(Function, numba.njit(signature, cache=True, **OPTIONS)(function))
        finally:
            numba.config.CACHE_DIR = given

    return decorate


def inlined(function: Function) -> Function:
    """Make a function a part of the compiled ones of its folder that call it; nothing else can call it."""
    return cast(Function, numba.njit(no_cpython_wrapper=True, **OPTIONS)(function))


@cache
def _directory(folder: Path) -> Path | None:
    """Return where the code of a source folder is kept; None, with a warning, where it must be compiled at every start."""
    sources = hashlib.sha256(f'{folder} {numba.config.BOUNDSCHECK}'.encode())
    for file in sorted(folder.glob('*.py')):
        sources.update(file.read_bytes())
    given = os.environ.get('NUMBA_CACHE_DIR')
    base = Path(given) if given else platformdirs.user_cache_path('seg_perception', appauthor=False) / 'compiled'
    directory, log = base / sources.hexdigest()[:16], logging.getLogger(__name__)
    try:
        if not directory.exists():
            log.warning('compiling the loops in %s for this machine, once: up to a minute', folder)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = changeable_by_others(directory)
    except OSError as error:
        problem = f'cannot be created ({error.strerror})'
    if not problem:
        return directory
    log.warning(
        'what is compiled is not kept, so this happens at every start: %s %s; set NUMBA_CACHE_DIR', directory, problem
    )
    return None
