"""`report.html` of a run: one file with the video, charts, the least certain frames, model and settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import RecordingError
from seg_perception.frames import jpeg
from seg_perception.offline.charts import Series, area_chart, line_chart
from seg_perception.offline.report_page import REPORT, STYLE
from seg_perception.offline.run_folder import REPORT as REPORT_FILE
from seg_perception.offline.run_folder import VIDEO
from seg_perception.offline.statistics import Picture

EMBED_LIMIT_BYTES = 64 << 20
"""A longer video stays beside the report and is linked: browsers choke on bigger pages."""

COLORS = ('#2f6fdd', '#d9822b', '#2a9d5c', '#b04a9c', '#7d7d7d', '#c0392b')
Array = npt.NDArray[np.float64]


def write_report(folder: Path, run: Mapping[str, Any], pictures: Sequence[Picture]) -> None:
    """Write the report of a run into its folder; what `run` holds is that of `run.json`.

    Raises:
        RecordingError: the disk is full.
    """
    first_ns = min(run['figures']['stamp_ns'])
    page = render(
        REPORT,
        title=Path(run['source']).name or run['source'],
        subtitle=f'{run["kind"]} {run["source"]} · cameras {", ".join(run["cameras"])} · {run["engine"]["backend"]} '
        f'on {run["engine"]["device"]}',
        status=run['status'],
        tiles=_tiles(run),
        problems=run['problems'],
        video=_video(folder / VIDEO),
        with_grid=any(known is not None for known in run['figures']['grid_known']),
        with_lanes=bool(run['settings'].get('geometry')),
        charts=_charts(run),
        pictures=[_figure(p, first_ns) for p in pictures],
        settings=[*_flat(run['settings']), *_flat({'engine': run['engine']})],
    )
    write_page(folder / REPORT_FILE, page)


def render(template: str, **values: Any) -> str:
    """Fill a template; values are escaped unless it marks them safe."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(style=STYLE, **values)


def write_page(file: Path, page: str) -> None:
    """Write a page.

    Raises:
        RecordingError: the disk is full.
    """
    try:
        file.write_text(page, encoding='utf-8')
    except OSError as error:
        raise RecordingError(f'{file}: cannot write it ({error.strerror}); free space or give another --out') from error


def _tiles(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = run['figures']
    frames, seconds = run['frames'], run['seconds']
    free = [v for v in figures['free_ahead_m'] if v is not None]
    known = [v for v in figures['grid_known'] if v is not None]
    ages = np.asarray(figures['age_ms'])
    bare_ms, multiple = run['bare_network_ms'], run['network_multiple']
    tiles = [
        ('frames', f'{frames}'),
        ('frames per second', f'{frames / seconds:.1f}'),
        ('network alone', f'{bare_ms:.1f} ms' if bare_ms else '-'),
        ('time per frame / network alone', f'{multiple:.2f}' if multiple else '-'),
        ('age p50 / p99', f'{np.percentile(ages, 50):.0f} / {np.percentile(ages, 99):.0f} ms'),
        ('mean confidence', f'{np.mean(figures["confidence"]):.3f}'),
        ('frames with a grid', f'{len(known)}' if known else 'none'),
    ]
    return [*tiles, ('free ahead, median', f'{np.median(free):.1f} m')] if free else tiles


def _charts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    charts: list[tuple[str, str]] = []
    figures = {
        name: np.array(values, float) for name, values in run['figures'].items() if name not in ('camera', 'shares')
    }
    seconds = (figures['stamp_ns'] - figures['stamp_ns'].min()) / 1e9
    shares = np.array(run['figures']['shares'])
    of = {c: np.array([name == c for name in run['figures']['camera']]) for c in run['cameras']}
    for camera, mine in of.items():
        areas = [Series(c['name'], shares[mine, c['id']] * 100, _css(c['color'])) for c in run['classes']]
        charts.append((f'Class shares, {camera}', area_chart(seconds[mine], areas, '%')))
    for camera, mine in of.items():
        lines = [
            Series('mean confidence', figures['confidence'][mine], COLORS[0]),
            Series('share of pixels under 0.5', figures['uncertain'][mine], COLORS[1]),
        ]
        charts.append((f'Confidence, {camera}', line_chart(seconds[mine], lines, '', y_high=1.0)))
    if np.isfinite(figures['free_ahead_m']).any():
        free = Series('free distance ahead', figures['free_ahead_m'], COLORS[2])
        charts.append(('Free distance ahead', line_chart(seconds, [free], 'm')))
    if np.isfinite(figures['grid_known']).any():
        known = Series('known cells', figures['grid_known'] * 100, COLORS[3])
        charts.append(('Known part of the grid', line_chart(seconds, [known], '%')))
    charts.append(
        ('Rate of processing', line_chart(seconds, [Series('rate', _rate(figures['done_s']), COLORS[0])], '1/s'))
    )
    ages = [Series('age', figures['age_ms'], COLORS[0]), Series('network', figures['engine_ms'], COLORS[1])]
    charts.append(('Age of the outputs: decoded to written', line_chart(seconds, ages, 'ms')))
    return charts


def _rate(done_s: Array) -> Array:
    """Frames per second over the last ten frames."""
    rate = np.full(len(done_s), np.nan)
    span = min(10, len(done_s) - 1)
    if span > 0:
        rate[span:] = span / np.maximum(done_s[span:] - done_s[:-span], 1e-6)
    return rate


def _css(color: Sequence[int]) -> str:
    return '#' + ''.join(f'{c:02x}' for c in color)


def _video(file: Path) -> str:
    if not file.exists():
        return ''
    if file.stat().st_size > EMBED_LIMIT_BYTES:
        return file.name
    return 'data:video/mp4;base64,' + base64.b64encode(file.read_bytes()).decode()


def _figure(picture: Picture, first_ns: int) -> dict[str, Any]:
    return {
        'camera': picture.camera,
        'time': f'{(picture.stamp_ns - first_ns) / 1e9:.1f}',
        'confidence': f'{picture.confidence:.3f}',
        'overlay': _jpeg(picture.overlay),
        'heat': _jpeg(picture.heat()),
    }


def _jpeg(rgb: npt.NDArray[np.uint8]) -> str:
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg(rgb, 80)).decode()


def _flat(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, Any]]:
    """Flatten nested settings to dotted names; what is not set is left out."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f'{prefix}{name}.')
        elif value not in (None, '', (), []):
            found.append((f'{prefix}{name}', value))
    return found
