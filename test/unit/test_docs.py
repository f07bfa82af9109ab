"""README and docs name only commands, options, launch arguments, files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from seg_perception.cli import group

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
COMMAND = re.compile(r'(?:^|[\s`])seg_perception ([a-z-]+)(?![\w.])([^`\n#]*)')
LINK = re.compile(r'\]\(([^)#\s]*)(?:#([^)]+))?\)')


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def anchors(page: Path) -> set[str]:
    return {slug(h) for h in re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)}


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
    context = click.Context(group)
    for name, rest in COMMAND.findall(text):
        command = group.get_command(context, name)
        if command is None:
            assert '--' not in rest, f'seg_perception {name}{rest}: no such command'
            continue
        known = {'--help', *(option for p in command.params for option in (*p.opts, *p.secondary_opts))}
        assert set(re.findall(r'(?<!\S)--[a-z][a-z-]*', rest)) <= known, f'seg_perception {name}{rest}'


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_launch_arguments_exist(page: Path) -> None:
    for file, rest in re.findall(r'(\w+\.launch\.py)((?: [a-z_]+:=\S+)+)', page.read_text(encoding='utf-8')):
        declared = re.findall(
            r"DeclareLaunchArgument\(\s*'(\w+)'", (ROOT / 'launch' / file).read_text(encoding='utf-8')
        )
        assert set(re.findall(r'(\w+):=', rest)) <= set(declared), f'{file}{rest}'


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding='utf-8')):
        if target.startswith('http'):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f'{target}#{anchor}'
