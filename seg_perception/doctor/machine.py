"""What the doctor looks at besides ROS: versions, model, plans, GPU, and the middleware's settings."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from seg_perception.doctor.snapshot import MachineSnapshot, TransportSnapshot
from seg_perception.errors import SegPerceptionError

DISTRIBUTIONS = {
    'numpy': ('numpy',),
    'opencv': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python'),
    'onnxruntime': ('onnxruntime', 'onnxruntime-gpu'),
    'pycuda': ('pycuda',),
}
ROS_PACKAGES = ('cv_bridge', 'tf2_ros', 'vision_msgs')
PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
UDP_TABLES = (Path('/proc/net/udp'), Path('/proc/net/udp6'))
SHM = Path('/dev/shm')


def look(model: str) -> MachineSnapshot:
    """Take the snapshot of this machine.

    Args:
        model: path of the model; '' for the shipped one.
    """
    path, facts, sha256, problem = _model(model)
    plans, plan_problem = _plans(sha256)
    tensorrt, tensorrt_problem = _tensorrt()
    return MachineSnapshot(
        versions=_versions(),
        gpu=_gpu(),
        tensorrt=tensorrt,
        tensorrt_problem=tensorrt_problem,
        model_path=path,
        model_problem=problem,
        model_facts=facts,
        plans=plans,
        plan_problem=plan_problem,
    )


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        'python': platform.python_version(),
        'ROS': os.environ.get('ROS_DISTRO'),
        'system': f'{platform.system()} {platform.release()} {platform.machine()}',
    }
    for name, distributions in DISTRIBUTIONS.items():
        found[name] = next((v for d in distributions if (v := _version(d))), None)
    if not found['opencv'] and importlib.util.find_spec('cv2'):  # Ubuntu's python3-opencv has no metadata
        found['opencv'] = str(importlib.import_module('cv2').__version__)
    for package in ROS_PACKAGES:
        found[package] = (_version(package) or 'installed') if importlib.util.find_spec(package) else None
    return found


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _model(model: str) -> tuple[str, str, str, str]:
    """Return path, facts, SHA-256 and problem of the model."""
    from seg_perception.engine.onnxrt import read_spec
    from seg_perception.paths import default_model

    try:
        path = Path(model).expanduser() if model else default_model()
        spec = read_spec(path)
    except SegPerceptionError as error:
        return model, '', '', str(error)
    facts = f'{spec.name}, {spec.precision}, {spec.input_width}x{spec.input_height}, {len(spec.labels)} classes'
    return str(path), facts, spec.sha256, ''


def _tensorrt() -> tuple[str, str]:
    from seg_perception.engine import trt_api

    try:
        library = trt_api.load()
    except SegPerceptionError as error:
        return '', str(error)
    return f'{library.flavour} {library.version}', ''


def _gpu() -> str:
    """Return the name of the GPU: by nvidia-smi on a desktop, from the device tree on a Jetson."""
    tool = shutil.which('nvidia-smi')
    if tool:
        query = [tool, '--query-gpu=name,driver_version', '--format=csv,noheader']
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.splitlines()[0]
    board = Path('/proc/device-tree/model')
    if Path('/etc/nv_tegra_release').exists() and board.exists():
        return board.read_text(errors='replace').strip('\0\n')
    return ''


def _plans(sha256: str) -> tuple[tuple[str, ...], str]:
    """Return a line for each cached plan of the model, and what is wrong with one."""
    from seg_perception.engine import cache

    directory = cache.cache_directory()
    if not directory.is_dir():
        return (), ''
    lines = []
    try:
        cache.check_private(directory)
        for path, facts in cache.PlanCache(directory).entries():
            fingerprint = facts.get('fingerprint') or {}
            if not facts:
                return (
                    (),
                    f'{path}: its fingerprint is missing or unreadable; the plan is built again at the next start',
                )
            if fingerprint.get('model_sha256') == sha256:
                size = path.stat().st_size
                if size != facts.get('plan_bytes'):
                    return (), f'{path} has {size} bytes; expected {facts.get("plan_bytes")}: it is corrupt'
                lines.append(f'{fingerprint.get("precision")} for {fingerprint.get("gpu")} ({path.name})')
    except (SegPerceptionError, OSError) as error:
        return (), str(error)
    return tuple(lines), ''


def transport(rmw: str, failure: str = '') -> TransportSnapshot:
    """Take the snapshot of the middleware's settings in this process."""
    profile = os.environ.get(PROFILE_VARIABLE, '')
    segment, problem = read_profile(Path(profile)) if profile else (None, '')
    return TransportSnapshot(
        rmw=rmw,
        domain_id=os.environ.get('ROS_DOMAIN_ID', ''),
        domains_here=tuple(sorted(domains_here())),
        profile_path=profile,
        profile_problem=problem,
        segment_bytes=segment,
        shm_free_bytes=shutil.disk_usage(SHM).free if SHM.is_dir() else None,
        failure=failure,
    )


def read_profile(path: Path) -> tuple[int | None, str]:
    """Return the shared-memory segment of a Fast DDS profile in bytes, and what is wrong with the file."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        return None, f'{PROFILE_VARIABLE} is {path}: {error.strerror}; Fast DDS takes its default of 512 KiB'
    except ElementTree.ParseError as error:
        return None, f'{PROFILE_VARIABLE} is {path}: no valid XML ({error}); Fast DDS takes its default of 512 KiB'
    for transport_element in root.iter():
        values = {_tag(child): (child.text or '').strip() for child in transport_element}
        if _tag(transport_element) == 'transport_descriptor' and values.get('type') == 'SHM':
            size = values.get('segment_size', '')
            return (int(size), '') if size.isdigit() else (None, '')
    return None, ''


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition('}')[2]


def domains_here() -> set[int]:
    """Return the DDS domains that have a participant on this machine.

    A participant binds the UDP ports 7400 + 250 x domain + 10 + 2 k and the next (RTPS 2.3, 9.6.1.1); Linux gives no
    port above 32767 to others that ask for any, so that a pair below is no coincidence.
    """
    ports = {port for table in UDP_TABLES if table.exists() for port in _bound(table.read_text())}
    found = set()
    for port in ports:
        domain, offset = divmod(port - 7400, 250)
        if 7400 <= port < 32768 and offset >= 10 and offset % 2 == 0 and port + 1 in ports:
            found.add(domain)
    return found


def _bound(table: str) -> Iterator[int]:
    for line in table.splitlines()[1:]:
        yield int(line.split()[1].rpartition(':')[2], 16)


def rmw_name() -> str:
    """Return the middleware that RMW_IMPLEMENTATION names; '' for the default."""
    return os.environ.get('RMW_IMPLEMENTATION', '')


def rmw_failure() -> str:
    """Return why the middleware named by RMW_IMPLEMENTATION cannot start; '' when it can or none is named.

    Tried in a process of its own, because rcl ends the process when the middleware is not the one asked for.
    """
    name = rmw_name()
    if not name or name.startswith('rmw_fastrtps'):
        return ''
    code = 'import rclpy; rclpy.init(); rclpy.create_node("seg_perception_doctor_trial"); rclpy.shutdown()'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return ''
    last = done.stderr.strip().splitlines()[-1:] or [f'exit code {done.returncode}']
    return f'RMW_IMPLEMENTATION is {name}, which cannot be started: {last[0][:200]}'
