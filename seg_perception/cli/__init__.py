"""The `seg_perception` command. Each subcommand lives in the module of its name and is imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys

import click
from click.shell_completion import CompletionItem

from seg_perception import __version__
from seg_perception.errors import SegPerceptionError

COMMANDS = {
    'demo': 'Render or replay a drive through the real node and write a video.',
    'play': 'Publish a bag, video or folder as a live camera.',
    'process': 'Run bags, videos and folders offline; write a bag, a video and a report.',
    'compare': 'Compare two processed runs; the exit code is a regression gate.',
    'view': 'Show the outputs of the running node in a browser.',
    'doctor': 'Find out why nothing arrives.',
    'bench': 'Time the engine, the whole frame and the usual hand-written loop.',
    'build': 'Build, list or clean TensorRT plans.',
    'evaluate': 'Measure a model against labelled images.',
    'evaluate-grid': 'Measure the grid against synthetic truth.',
    'check-camera': 'Compare the configured camera pose with a recorded straight drive.',
    'train': 'Train a network from a YAML file.',
    'export': 'Write a checkpoint as a deployable ONNX model.',
    'prelabel': 'Write label images for annotators, least certain first.',
}


class LazyGroup(click.Group):
    """Imports a subcommand's module only when it is needed, so that `--help` is fast and needs no ROS or torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f'seg_perception.cli.{name.replace("-", "_")}')
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a subcommand's name without importing any."""
        if incomplete.startswith('-'):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section('Commands'):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = """\b
Examples:
  seg_perception demo                         (see it work)
  seg_perception process drive.mp4 --out run
  seg_perception doctor                       (why does nothing arrive?)
  seg_perception COMMAND --help               (options and examples)

\b
Exit codes:
  0    done
  1    an error that one line on stderr explains
  2    wrong usage
  3    a check or a regression gate failed
  130  interrupted

\b
Shell completion, in ~/.bashrc (or zsh_source in ~/.zshrc, fish_source in fish):
  eval "$(_SEG_PERCEPTION_COMPLETE=bash_source seg_perception)"
"""


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100},
)
@click.version_option(__version__)
@click.option('--debug', is_flag=True, help='Show the traceback of an error; may stand anywhere.')
def group(debug: bool) -> None:
    """Camera perception for ROS 2: road, lane and obstacle labels and a drivable-area grid."""


def main() -> None:
    """Entry point: one line and exit code 1 for an expected error, a traceback only with --debug."""
    arguments = [a for a in sys.argv[1:] if a != '--debug']
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = group.main(arguments, prog_name='seg_perception', standalone_mode=False)
    except (SegPerceptionError, ModuleNotFoundError) as error:
        if debug or (isinstance(error, ModuleNotFoundError) and str(error.name).startswith('seg_perception')):
            raise
        click.echo(f'seg_perception: error: {_line(error)}', err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo('seg_perception: interrupted', err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe such as `| head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if debug or error.filename is None:  # without a path it is not the user's
            raise
        click.echo(f'seg_perception: error: {error.filename}: {error.strerror}; give another path', err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f'{error.name} is not installed; this command needs it: see requirements/ (pip) or package.xml (rosdep)'
    return ' '.join(str(error).split())
