"""`seg_perception train`: from a YAML file to a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  seg_perception train config/training/deeplab_fast.yaml --data DIR --out runs/fast
  seg_perception train config/training/compare.yaml --data DIR --out runs/unet --set network.name=unet
"""


@click.command('train', epilog=EPILOG)
@click.argument('config', type=click.Path(path_type=Path))
@click.option('--data', type=click.Path(path_type=Path), help='Folder the data sets are in; default: that of CONFIG.')
@click.option('--out', type=click.Path(path_type=Path), required=True, help='Folder for checkpoints and curves.')
@click.option('--set', 'changes', multiple=True, metavar='KEY=VALUE', help='Change a value, e.g. network.name=unet.')
def command(config: Path, data: Path | None, out: Path, changes: tuple[str, ...]) -> None:
    """Train the network that CONFIG describes; run again with the same --out to resume."""
    from seg_perception.training.run import train_from_file

    outcome = train_from_file(config, data or config.parent, out, changes)
    click.echo(f'best score {outcome.score:.4f} on the selection split: {outcome.best}')
