"""Draw training_tradeoff.png from training_tradeoff.csv: `python docs/training_tradeoff.py`."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HERE = Path(__file__).parent
PANELS = {
    'size': ('input size, final accurate weights', 'ms a frame, two threads'),
    'stride': ('output stride, 100 steps (16: two seeds)', 'ms of CPU a frame'),
    'width': ('backbone width, 60 steps from random', 'ms of CPU a frame'),
}


def main() -> None:
    with (HERE / 'training_tradeoff.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(13, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (kind, (title, xlabel)) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        chosen = sorted((row for row in rows if row['panel'] == kind), key=lambda row: float(row['ms']))
        ms = [float(row['ms']) for row in chosen]
        for name in ('drivable', 'obstacle', 'lane'):
            iou = [float(row[name]) for row in chosen]
            axes.plot(ms, iou, 'o-' if kind == 'size' else 'o', label=name)
        for x, row in zip(ms, chosen, strict=True):
            axes.annotate(row['name'], (x, 1.01), ha='center', fontsize=7)
        axes.set(title=title, xlabel=f'{xlabel}, ONNX Runtime fp32', ylabel='IoU, selection split', ylim=(0, 1.06))
        axes.margins(x=0.12)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc='lower right')
    figure.savefig(HERE / 'training_tradeoff.png', dpi=80)


if __name__ == '__main__':
    main()
