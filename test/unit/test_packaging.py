"""The package builds by colcon and by pip, and both install what the launch files and the node look for."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    p.relative_to(ROOT)
    for folder, patterns in {
        'launch': ['*.launch.py'],
        'config': ['*.yaml', '*.rviz', '*.xml'],
        'engines': ['*.onnx', '*.json', '*.md'],
    }.items()
    for pattern in patterns
    for p in (ROOT / folder).rglob(pattern)
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    copy = tmp_path / 'src' / 'seg_perception'
    skip = shutil.ignore_patterns('.*', '__pycache__', 'test', 'out', 'build', 'install', 'log', 'runs', '*.egg-info')
    shutil.copytree(ROOT, copy, ignore=skip)
    return copy


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_colcon_installs_node_tools_and_shared_files(sources: Path) -> None:
    pytest.importorskip('colcon_ros', reason='colcon-ros is not installed')
    workspace = sources.parents[1]
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    run(sys.executable, '-m', 'colcon', 'build', cwd=workspace, PATH=path)
    prefix = workspace / 'install' / 'seg_perception'
    share = prefix / 'share' / 'seg_perception'
    assert {f for f in SHIPPED if not (share / f).is_file()} == set()
    assert (prefix / 'share/ament_index/resource_index/packages/seg_perception').is_file()
    assert (prefix / 'lib/seg_perception/seg_perception_node').is_file()
    site = next(prefix.glob('lib/python*/site-packages'))
    said = run(str(prefix / 'lib/seg_perception/seg_perception'), '--version', cwd=workspace, PYTHONPATH=str(site))
    assert said.strip() == 'seg_perception, version 0.1.0'


def test_pip_installs_the_commands_and_shared_files(sources: Path, tmp_path: Path) -> None:
    target = tmp_path / 'prefix'
    run(
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--ignore-installed',  # the environment's own installation stays
        '--no-build-isolation',
        '--prefix',
        str(target),
        str(sources),
        cwd=tmp_path,
    )
    assert {p.name for p in (target / 'bin').iterdir()} >= {'seg_perception', 'seg_perception_node'}
    assert {f for f in SHIPPED if not (target / 'share' / 'seg_perception' / f).is_file()} == set()


def test_package_xml_and_setup_agree() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('name') == 'seg_perception'
    assert package.findtext('license') == 'Apache-2.0'
    assert f"version='{package.findtext('version')}'" in (ROOT / 'setup.py').read_text()
