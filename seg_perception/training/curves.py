"""Learning curves as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_history(path: Path, history: list[dict[str, float]]) -> None:
    """Draw loss and selection IoUs over the steps."""
    figure = Figure(figsize=(9, 4), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [row['step'] for row in history]
    left.plot(steps, [row['loss'] for row in history])
    left.set(xlabel='step', ylabel='training loss')
    for name in ('drivable', 'obstacle', 'lane'):
        right.plot(steps, [row[name] for row in history], label=name)
    right.set(xlabel='step', ylabel='IoU on the selection split', ylim=(0, 1))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
