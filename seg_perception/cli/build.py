"""`seg_perception build`: TensorRT plans ahead of the first start; also lists and deletes them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seg_perception.engine import siblings, trt_api
from seg_perception.engine.cache import PlanCache
from seg_perception.engine.onnxrt import read_model, read_spec
from seg_perception.engine.plan import BuildOptions, build
from seg_perception.engine.precision import PRECISIONS
from seg_perception.errors import ConfigError
from seg_perception.paths import default_model

EPILOG = """\b
Examples:
  seg_perception build                               the default model, as the node would at its first start
  seg_perception build model.onnx --precision fp16   takes model.fp16.onnx, which lies beside it
  seg_perception build model.onnx --batch 6          for up to six cameras
  seg_perception build model.onnx --check            would TensorRT take it? Needs no GPU (TensorRT-RTX)
  seg_perception build --list
"""


@click.command('build', epilog=EPILOG)
@click.argument('model', type=click.Path(path_type=Path), required=False)
@click.option('--precision', type=click.Choice(PRECISIONS), help="Build the model's file of this precision.")
@click.option('--batch', type=int, default=1, show_default=True, help='Largest batch: the number of cameras.')
@click.option('--typical', type=int, default=0, help='Batch that kernels are tuned for.  [default: the largest]')
@click.option('--workspace', type=int, default=0, help='Scratch memory for the builder, MiB.  [default: no limit]')
@click.option('--dla', type=int, metavar='CORE', help='Use this deep-learning accelerator, the GPU for the rest.')
@click.option('--timing-cache', type=click.Path(path_type=Path), help='Kernel timings to start from and to extend.')
@click.option('--output', type=click.Path(path_type=Path), help='Also write the plan here, with its .json beside it.')
@click.option('--force', is_flag=True, help='Build even when the cached plan fits.')
@click.option('--check', is_flag=True, help='Only parse and build with TensorRT-RTX, without a GPU; keep nothing.')
@click.option('--list', 'list_', is_flag=True, help='List the cached plans.')
@click.option('--clean', is_flag=True, help='Delete the cached plans.')
def command(
    model: Path | None,
    precision: str | None,
    batch: int,
    typical: int,
    workspace: int,
    dla: int | None,
    timing_cache: Path | None,
    output: Path | None,
    force: bool,
    check: bool,
    list_: bool,
    clean: bool,
) -> None:
    """Build, check, list or delete TensorRT plans.

    MODEL is an exported .onnx (the shipped one when left out). The plan goes to the cache, where the node finds it.
    """
    if list_ + clean + check > 1:
        raise ConfigError('--list, --clean and --check exclude each other; give one of them')
    if list_:
        return _list()
    if clean:
        deleted = PlanCache().clean()
        return click.echo(f'deleted {len(deleted)} plan(s)')
    model = model or default_model()
    if precision:
        model = siblings.of_precision(model, precision)
    options = BuildOptions(batch, typical, workspace, dla, timing_cache)
    return _check(model, options) if check else _build(model, options, output, force)


def _build(model: Path, options: BuildOptions, output: Path | None, force: bool) -> None:
    from seg_perception.engine.provision import open_tensorrt

    progress = _show_progress if sys.stderr.isatty() else None
    engine = open_tensorrt(model, options, rebuild=force, save_to=output, progress=progress)
    try:
        click.echo(f'{engine.spec.path}: {engine.info.backend} on {engine.info.device}')
        click.echo(f'precision  {engine.info.precision}')
        click.echo(f'plan       {engine.info.fingerprint}')
        if output:
            click.echo(f'written    {output}')
    finally:
        engine.close()


def _check(model: Path, options: BuildOptions) -> None:
    trt = trt_api.load()
    if not trt.is_rtx:
        raise ConfigError(f'--check needs TensorRT-RTX, and {trt} is installed; leave out --check to build')
    model = siblings.for_tensorrt(model)
    built = build(trt, read_model(model), read_spec(model), options, portable=True)
    click.echo(f'{model}: {trt} builds it in {built.seconds:.1f} s, {len(built.data) / 1e6:.1f} MB')
    click.echo(f'convolutions: {built.network.describe()}')


def _list() -> None:
    cache = PlanCache()
    click.echo(str(cache.directory))
    for path, facts in cache.entries():
        made_for = facts.get('fingerprint', {})
        about = '  '.join(str(made_for[k]) for k in ('gpu', 'flavour', 'tensorrt', 'precision') if k in made_for)
        note = '  refused' if 'refused' in facts else ''
        click.echo(f'  {path.name}  {path.stat().st_size / 1e6:.1f} MB  {about or "no fingerprint"}{note}')
    if not cache.entries():
        click.echo('  no plans')


def _show_progress(phase: str, done: float) -> bool:
    click.echo(f'\r\033[K{phase[:60]} {done:.0%}', nl=False, err=True)
    return True
