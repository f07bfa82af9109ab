"""The command line as a person and a shell meet it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from seg_perception import __version__, cli
from seg_perception.errors import ConfigError
from seg_perception.training.config import parse_train_config, read_yaml


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'seg_perception', *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


def load(name: str) -> click.Command:
    try:
        command = cli.group.get_command(click.Context(cli.group), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith('seg_perception'):
            raise
        pytest.skip(f'{error.name} is not installed')
    assert command is not None
    return command


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = run('--help')
    assert done.returncode == 0
    assert [name for name in cli.COMMANDS if f'\n  {name} ' not in done.stdout] == []
    assert '  3    a check or a regression gate failed' in done.stdout
    assert '_SEG_PERCEPTION_COMPLETE=bash_source' in done.stdout


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_a_command_has_help_and_examples_that_parse(name: str) -> None:
    command = load(name)
    assert command.help
    examples = re.findall(rf'^ +seg_perception {name}\b(.*)$', command.epilog or '', re.MULTILINE)
    assert examples, f'{name} has no examples'
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    used = {o for e in examples for o in re.findall(r'(?<=\s)--?[a-z][a-z-]*', re.sub(r'\|.*|\(.*\)', '', e))}
    assert used - known == set()


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_the_shipped_files_in_examples_are_there(name: str) -> None:
    root = Path(cli.__file__).parents[2]
    for file in re.findall(r'\b(?:config|engines)/\S+', load(name).epilog or ''):
        assert (root / file).exists(), file
        if name == 'train':
            parse_train_config(read_yaml(root / file), file)


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    options = [p for p in load(name).params if isinstance(p, click.Option)]
    assert [o.name for o in options if not o.help] == []


def test_an_unknown_command_is_wrong_usage_on_stderr() -> None:
    done = run('fly')
    assert (done.returncode, done.stdout) == (2, '')
    assert "No such command 'fly'" in done.stderr


def test_version() -> None:
    assert __version__ in run('--version').stdout


def in_process(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
    """Run `main` with a command that raises, and return the exit code."""

    @click.command('view')
    def failing() -> None:
        raise error

    module = type(sys)('failing')
    module.command = failing  # type: ignore[attr-defined]
    monkeypatch.setattr(importlib, 'import_module', lambda _: module)
    monkeypatch.setattr(sys, 'argv', ['seg_perception', *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(str(exit_.value.code))


def test_an_error_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(monkeypatch, ConfigError('found 3;\nexpected 2'), 'view') == 1
    assert capsys.readouterr() == ('', 'seg_perception: error: found 3; expected 2\n')


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (('--debug', 'view'), ('view', '--debug')):
        with pytest.raises(ConfigError, match='found 3'):
            in_process(monkeypatch, ConfigError('found 3'), *arguments)


def test_a_missing_dependency_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(monkeypatch, ModuleNotFoundError('No module named torch', name='torch'), 'view') == 1
    assert capsys.readouterr().err.startswith('seg_perception: error: torch is not installed')


def test_a_path_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    error = FileExistsError(17, 'File exists', str(tmp_path / 'file'))
    assert in_process(monkeypatch, error, 'view') == 1
    assert capsys.readouterr().err == f'seg_perception: error: {tmp_path}/file: File exists; give another path\n'
    with pytest.raises(OSError, match='a bug'):
        in_process(monkeypatch, OSError('a bug'), 'view')


@pytest.mark.parametrize(
    'arguments', [('process', 'x', '--hood'), ('check-camera', 'x', '--tolerance'), ('demo', 'x', '--rate')]
)
def test_nan_is_in_no_range(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, 'nan')
    assert done.returncode == 2
    assert "'nan' is no number" in done.stderr


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_process(monkeypatch, KeyboardInterrupt(), 'view') == 130


def test_the_shell_completes_commands_and_options() -> None:
    commands = run(_SEG_PERCEPTION_COMPLETE='bash_complete', COMP_WORDS='seg_perception do', COMP_CWORD='1')
    assert commands.stdout == 'plain,doctor\n'
    options = run(_SEG_PERCEPTION_COMPLETE='bash_complete', COMP_WORDS='seg_perception view --po', COMP_CWORD='2')
    assert options.stdout == 'plain,--port\n'


def test_no_colour_when_the_output_is_no_terminal() -> None:
    done = run('doctor', '--duration', '0.5', RMW_IMPLEMENTATION='rmw_nobody_cpp')
    assert done.returncode == 3
    assert '\x1b' not in done.stdout
    assert 'transport' in done.stdout
