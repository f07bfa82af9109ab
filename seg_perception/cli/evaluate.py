"""`seg_perception evaluate`: a model file against labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from seg_perception.cli.option_types import OutputFile
from seg_perception.engine import BACKENDS, open_engine

EPILOG = """\b
Example:
  seg_perception evaluate engines/deeplab_accurate.onnx --images camvid/images --labels camvid/labels \\
    --classes camvid/classes.csv --match 0001TP --report out/evaluation
"""


@click.command('evaluate', epilog=EPILOG)
@click.argument('model', type=click.Path(path_type=Path))
@click.option('--images', type=click.Path(path_type=Path), required=True, help='Folder of images.')
@click.option('--labels', type=click.Path(path_type=Path), required=True, help='Folder of PNGs of class ids.')
@click.option('--classes', type=click.Path(path_type=Path), required=True, help='CSV with id, name, role.')
@click.option('--match', default='', metavar='PATTERN', help='Regular expression that image names must contain.')
@click.option('--mapping', type=click.Path(path_type=Path), help='Class mapping as for training, to compare by class.')
@click.option('--backend', type=click.Choice(BACKENDS), default='auto', show_default=True, help='What runs the model.')
@click.option('--threads', type=click.IntRange(0), default=0, help='CPU threads [default: one per core].')
@click.option(
    '--foreign', is_flag=True, help='Also stand rendered objects on the road: does the confidence fall there?'
)
@click.option('--json', 'json_file', type=OutputFile(), help='Write all figures to FILE.')
@click.option('--report', type=click.Path(path_type=Path), help='Write an HTML page into this folder.')
@click.option('--card', metavar='TEXT', help="Note the accuracy in the model's card; TEXT says on which images.")
def command(
    model: Path,
    images: Path,
    labels: Path,
    classes: Path,
    match: str,
    mapping: Path | None,
    backend: str,
    threads: int,
    foreign: bool,
    json_file: Path | None,
    report: Path | None,
    card: str | None,
) -> None:
    """Measure MODEL (an exported .onnx) on labelled images, through the same pipeline as the node.

    Roles of CLASSES: road, lane, obstacle, other; road+lane where the truth does not tell them apart; void does not
    count.
    """
    from seg_perception.evaluation.measure import Evaluation, evaluate, summary
    from seg_perception.evaluation.truth import find_labelled, read_truth_table, rightness
    from seg_perception.pipeline import Pipeline, PipelineConfig

    table = read_truth_table(classes)
    items = find_labelled(images, labels, match)
    engine = open_engine(model, backend, threads=threads)
    try:
        pipeline = Pipeline(PipelineConfig(), engine)
        right = rightness(table, engine.spec.labels, mapping)
        frames = tuple(tqdm(evaluate(pipeline, items, table, right), total=len(items), unit='image', disable=None))
        result = Evaluation(frames, table, engine.spec.labels, right)
        figures = {'model': str(model), 'sha256': engine.spec.sha256, 'precision': engine.spec.precision} | summary(
            result
        )
        if foreign:
            from seg_perception.evaluation.foreign import count_foreign, summarise_foreign

            counts = tqdm(count_foreign(pipeline, items, table), total=len(items), unit='image', disable=None)
            figures['foreign'] = summarise_foreign(list(counts))
        if report is not None:
            from seg_perception.evaluation.report import write_report

            click.echo(f'{write_report(report, result, figures, pipeline, items)}: report')
    finally:
        engine.close()
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
    _show(figures)
    if card is not None:
        from seg_perception.training.card import add_accuracy

        click.echo(f'{add_accuracy(engine.spec.path, card, figures)}: accuracy noted')


def _show(figures: dict[str, Any]) -> None:
    for name, value in figures['iou'].items():
        click.echo(f'{name:10} IoU {_text(value)}   boundary F {_text(figures["boundary_f"][name])}')
    for name in ('pixel_accuracy', 'role_accuracy', 'ece'):
        click.echo(f'{name:15} {_text(figures[name])}')
    if 'foreign' in figures:
        click.echo(f'foreign objects: {figures["foreign"]}')
    click.echo(f'{figures["frames"]} images, median {figures["engine_ms_median"]:.1f} ms')


def _text(value: float | None) -> str:
    return 'not told apart by the truth' if value is None else f'{value:.4f}'
