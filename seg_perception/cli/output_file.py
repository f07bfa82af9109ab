"""A file to write, as an option: its folder is made before the work begins, not missed when it is done."""

from __future__ import annotations

from pathlib import Path

import click


class OutputFile(click.Path):
    """A path whose folder exists once the option has been read."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(super().convert(str(value), param, ctx)))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
