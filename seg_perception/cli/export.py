"""`seg_perception export`: from a checkpoint to model files."""

from __future__ import annotations

from pathlib import Path

import click

from seg_perception.cli.option_types import Number
from seg_perception.errors import ConfigError

RUN_FILES = ('best.pt', 'last.pt')
EPILOG = """\b
Examples:
  seg_perception export runs/mine/best.pt --data DIR --out engines --name mine
  seg_perception export runs/mine/best.pt --data DIR --out engines --name mine --precision fp32
  seg_perception export engines/deeplab_fast.pt --exposure 0.4 --size 256 384 --data DIR --out engines --name small
"""


@click.command('export', epilog=EPILOG)
@click.argument('checkpoint', type=click.Path(path_type=Path))
@click.option('--data', type=click.Path(path_type=Path), required=True, help='The --data of the training run.')
@click.option(
    '--out', type=click.Path(path_type=Path), default=Path('engines'), show_default=True, help='Folder for the model.'
)
@click.option('--name', help='Name of the model [default: that of CHECKPOINT; of best.pt and last.pt, their folder].')
@click.option(
    '--precision',
    default='fp32,fp16,int8',
    show_default=True,
    help='Comma-separated; int8 writes one file per runtime.',
)
@click.option('--licence', default='', help='Licence of the training data, for the model card.')
@click.option(
    '--size', nargs=2, type=click.IntRange(32), metavar='HEIGHT WIDTH', help='Input size, instead of the training one.'
)
@click.option(
    '--exposure',
    type=Number(0, 1, max_open=True),
    help='Mean brightness that darker images are lifted to, instead of the training one; 0 for none.',
)
@click.option(
    '--average',
    type=click.Path(path_type=Path),
    help='Average the weights with this checkpoint, the one that fine-tuning started from.',
)
@click.option('--crf', is_flag=True, help='Refine the labels by a CRF in the graph, set on the selection split.')
def command(
    checkpoint: Path,
    data: Path,
    out: Path,
    name: str | None,
    precision: str,
    licence: str,
    size: tuple[int, int] | None,
    exposure: float | None,
    average: Path | None,
    crf: bool,
) -> None:
    """Write CHECKPOINT as ONNX with pre- and post-processing inside, metadata and model card.

    Real frames of the run's data set the int8 ranges and prove that each file labels as the PyTorch network does.
    """
    from seg_perception.engine.precision import PRECISIONS
    from seg_perception.training.card import write_card
    from seg_perception.training.export import Job, export

    precisions = tuple(part.strip() for part in precision.split(','))
    unknown = sorted(set(precisions) - set(PRECISIONS))
    if unknown:
        raise ConfigError(f'--precision has {unknown}; expected some of {", ".join(PRECISIONS)}')
    whole = checkpoint.resolve()
    chosen = name or (whole.parent.name if whole.name in RUN_FILES else whole.stem)
    job = Job(checkpoint, data, out, chosen, precisions, licence, size, exposure, average, crf)
    written = export(job, click.echo)
    click.echo(f'{write_card(job.out, job.name, written)}: model card')
