"""The folder of one processed recording: `<name>.incomplete` while it is written, `<name>` when all of it is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from seg_perception.errors import RecordingError

RUN_FILE = 'run.json'
BAG, EARLIER_BAG, VIDEO, REPORT = 'bag', 'earlier', 'video.mp4', 'report.html'
RUN_FORMAT = 1


class RunFolder:
    """Paths of a run that is being written."""

    def __init__(self, out: Path, name: str) -> None:
        self.final = out / name
        self.path = out / f'{name}.incomplete'

    def begin(self, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> Path | None:
        """Make the folder ready; return the bag of the interrupted run to go on from, if there is one that fits.

        Raises:
            RecordingError: a finished run is there already, or the folder cannot be written.
        """
        if self.final.exists() and not overwrite:
            raise RecordingError(f'{self.final}: exists; give another --out, or --overwrite, or --resume to keep it')
        try:
            earlier = self._earlier(settings) if resume else None
            if earlier is None and self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f'{self.path}: cannot write there ({error.strerror}); give another --out') from error
        return earlier

    def _earlier(self, settings: dict[str, Any]) -> Path | None:
        """Put the interrupted run's bag aside; of two, from a run interrupted twice, the bigger one."""
        bag, aside = self.path / BAG, self.path / EARLIER_BAG
        known = read_run(self.path) if (self.path / RUN_FILE).exists() else {}
        if known.get('settings') != json.loads(json.dumps(settings)) or not (bag.exists() or aside.exists()):
            return None
        if bag.exists() and _size(bag) > _size(aside):
            shutil.rmtree(aside, ignore_errors=True)
            bag.rename(aside)
        shutil.rmtree(bag, ignore_errors=True)
        return aside

    def write(self, run: dict[str, Any]) -> None:
        """Write `run.json` in one step.

        Raises:
            RecordingError: the disk is full.
        """
        file = self.path / RUN_FILE
        try:
            new = file.with_suffix('.new')
            new.write_text(json.dumps({'format': RUN_FORMAT, **run}, indent=1, allow_nan=False), encoding='utf-8')
            new.replace(file)
        except OSError as error:
            raise RecordingError(
                f'{file}: cannot write it ({error.strerror}); free space or give another --out'
            ) from error

    def finish(self) -> None:
        """Give the folder its final name: all its files are whole.

        Raises:
            RecordingError: it cannot be renamed.
        """
        try:
            shutil.rmtree(self.path / EARLIER_BAG, ignore_errors=True)
            if self.final.exists():
                shutil.rmtree(self.final)
            self.path.rename(self.final)
        except OSError as error:
            raise RecordingError(f'{self.path}: cannot be renamed to {self.final} ({error.strerror})') from error


def read_run(path: Path) -> dict[str, Any]:
    """Read the `run.json` of a run's folder.

    Raises:
        RecordingError: it is not there, or of another version.
    """
    file = path / RUN_FILE
    try:
        run: dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise RecordingError(f'{file}: no processed run here; give the folder that `process` wrote') from error
    if run.get('format') != RUN_FORMAT:
        raise RecordingError(f'{file}: format {run.get("format")}, expected {RUN_FORMAT}; process the recording again')
    return run


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob('*')) if folder.exists() else 0
