"""Built plans on disk: each beside a JSON fingerprint of everything that it depends on.

A plan holds machine code that the GPU and this process run, so plans are read only from a directory that
nobody else can write to, and their bytes are checked before TensorRT sees them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import platformdirs

from seg_perception.errors import EngineError
from seg_perception.paths import changeable_by_others

FORMAT = 1
CACHE_VARIABLE = 'SEG_PERCEPTION_CACHE'


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that a plan depends on; a plan is used only when all of it is equal."""

    model_sha256: str
    flavour: str
    tensorrt: str
    cuda: str
    """Toolkit that pycuda was built with."""
    driver: str
    """Highest CUDA that the driver supports."""
    gpu: str
    compute_capability: str
    precision: str
    profile: str
    """Smallest, typical and largest batch, e.g. '1, 4, 4'."""
    workspace_mib: int
    dla_core: int | None

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return 'field: old -> new' for each field in which a stored fingerprint differs from this one."""
        names = [f.name for f in fields(self)]
        return [
            f'{name}: {_short(other.get(name, "absent"))} -> {_short(getattr(self, name))}'
            for name in names
            if other.get(name, 'absent') != getattr(self, name)
        ]


class Lookup(NamedTuple):
    """A plan that may be loaded, or why there is none."""

    plan: bytes | None
    reason: str
    """Why the plan must be built; '' when `plan` is there."""
    refused: str = ''
    """Why a plan that fits was refused at an earlier start; '' when it was not."""


def cache_directory() -> Path:
    """Return the directory of plans: SEG_PERCEPTION_CACHE, else the user's cache directory."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path(platformdirs.user_cache_dir('seg_perception', appauthor=False)) / 'plans'


def plan_name(model: Path, precision: str, max_batch: int, dla_core: int | None) -> str:
    """Return the file name of a model's plan, without suffix: the same whatever built it, so that a stale one is met.

    The hash of the path keeps two models of the same name apart.
    """
    place = hashlib.sha256(str(model.resolve()).encode()).hexdigest()[:8]
    dla = '' if dla_core is None else f'-dla{dla_core}'
    return f'{model.stem}-{precision}-b{max_batch}{dla}-{place}'


class PlanCache:
    """Plans of one directory. All methods may be called by several processes at once."""

    def __init__(self, directory: Path | None = None) -> None:
        """Open the directory, and create it when it is not there.

        Raises:
            EngineError: it cannot be created, or others may write to it.
        """
        self.directory = directory or cache_directory()
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.directory)
        except OSError as error:
            raise EngineError(
                f'{self.directory}: cannot create the plan cache ({error.strerror}); set {CACHE_VARIABLE}'
            ) from error

    def path(self, name: str) -> Path:
        """Return where the plan called `name` is or would be."""
        return self.directory / f'{name}.plan'

    def load(self, name: str, fingerprint: Fingerprint) -> Lookup:
        """Return the plan called `name` if it is whole and was built for `fingerprint`.

        Raises:
            EngineError: the file belongs to another user, or others may write to it.
        """
        return load_plan(self.path(name), fingerprint)

    def store(self, name: str, plan: bytes, fingerprint: Fingerprint, facts: dict[str, Any]) -> Path:
        """Write a plan and its fingerprint; a reader sees the old pair, the new pair, or a pair it refuses.

        Args:
            facts: further JSON values that are kept for people, such as the model's path.

        Raises:
            EngineError: the directory is full or not writable; nothing half-written is left.
        """
        return store_plan(self.path(name), plan, fingerprint, facts)

    def refuse(self, name: str, why: str) -> None:
        """Note that the plan called `name` labels wrongly, so that no start loads it or builds its like again."""
        path = self.path(name)
        facts = _read_facts(path)
        if facts is not None:
            _write_atomically(path.with_suffix('.json'), _json({**facts, 'refused': why}))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the plan called `name` against other processes; a process that dies lets go of it."""
        lock = filelock.FileLock(self.directory / f'{name}.lock')
        try:
            lock.acquire()
        except OSError as error:
            raise EngineError(f'{lock.lock_file}: cannot lock ({error.strerror}); set {CACHE_VARIABLE}') from error
        try:
            yield
        finally:
            lock.release()

    def entries(self) -> list[tuple[Path, dict[str, Any]]]:
        """Return each plan with its stored facts, {} where they cannot be read."""
        return [(path, _read_facts(path) or {}) for path in sorted(self.directory.glob('*.plan'))]

    def clean(self) -> list[Path]:
        """Delete all plans, fingerprints, locks and remains of interrupted builds; return the deleted plans."""
        plans = sorted(self.directory.glob('*.plan'))
        for pattern in ('*.plan', '*.json', '*.lock', '*.part'):
            for path in self.directory.glob(pattern):
                path.unlink(missing_ok=True)
        return plans


def load_plan(path: Path, fingerprint: Fingerprint) -> Lookup:
    """Return the plan at `path` if it is whole and was built for `fingerprint`; see `PlanCache.load`."""
    if not path.exists():
        return Lookup(None, 'there is none yet')
    check_private(path)
    facts = _read_facts(path)
    if facts is None:
        return Lookup(None, f'{path.with_suffix(".json").name} is missing or unreadable')
    if facts.get('format') != FORMAT:
        return Lookup(None, f'format: {facts.get("format", "absent")} -> {FORMAT}')
    differences = fingerprint.differences(facts.get('fingerprint') or {})
    if differences:
        return Lookup(None, '; '.join(differences))
    data = path.read_bytes()
    if len(data) != facts.get('plan_bytes'):
        return Lookup(None, f'{path.name} has {len(data)} bytes; expected {facts.get("plan_bytes")}')
    if hashlib.sha256(data).hexdigest() != facts.get('plan_sha256'):
        return Lookup(None, f'{path.name} is corrupt: its SHA-256 is not the one that was written')
    return Lookup(data, '', str(facts.get('refused', '')))


def store_plan(path: Path, plan: bytes, fingerprint: Fingerprint, facts: dict[str, Any]) -> Path:
    """Write a plan and its fingerprint to `path` and beside it; see `PlanCache.store`."""
    record = {
        'format': FORMAT,
        'fingerprint': asdict(fingerprint),
        'plan_bytes': len(plan),
        'plan_sha256': hashlib.sha256(plan).hexdigest(),
        **facts,
    }
    for remains in path.parent.glob(f'{path.stem}.*.part'):
        remains.unlink(missing_ok=True)
    try:
        # The plan first: until the JSON follows, its checksum does not fit and the pair is refused.
        _write_atomically(path, plan)
        _write_atomically(path.with_suffix('.json'), _json(record))
    except OSError as error:
        raise EngineError(
            f'{path}: cannot write {len(plan) / 1e6:.0f} MB ({error.strerror}); free space or set {CACHE_VARIABLE}'
        ) from error
    return path


def check_private(path: Path) -> None:
    """Check that only this user (or root) can change what `path` holds.

    Raises:
        EngineError: it belongs to another user, or group or others may write.
    """
    problem = changeable_by_others(path)
    if problem:
        raise EngineError(f'{path}: {problem} (plans run as code)')


def _write_atomically(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f'{path.stem}.', suffix='.part', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _json(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2) + '\n').encode()


def _read_facts(plan: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(plan.with_suffix('.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _short(value: Any) -> str:
    text = str(value)
    return f'{text[:12]}...' if len(text) == 64 else text
