"""Kinds of option values that click lacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


class OutputFile(click.Path):
    """A file to write; its folder is made before the work begins, not missed when it is done."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(super().convert(str(value), param, ctx)))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Number(click.FloatRange):
    """A number in a range; `FloatRange` lets NaN through, for it is on neither side of a bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f'{value!r} is no number', param, ctx)
        return number
