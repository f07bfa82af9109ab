"""Package of the ROS 2 build (ament_python) and of `pip install .`."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'seg_perception'
SHARE = f'share/{PACKAGE}'


def shared(folder: str, *patterns: str) -> list[tuple[str, list[str]]]:
    """Install the files of `folder` and its subfolders that match under the package's share directory."""
    files: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted(Path(folder).rglob(pattern)):
            files.setdefault(f'{SHARE}/{path.parent}', []).append(str(path))
    return list(files.items())


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'templates/*.html', '*/templates/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        *shared('launch', '*.launch.py'),
        *shared('config', '*.yaml', '*.rviz', '*.xml'),
        *shared('engines', '*.onnx', '*.json', '*.md', '*.png'),
    ],
    install_requires=[
        'click>=8.0',
        'filelock>=3.6',
        'jinja2>=3.0',
        'matplotlib>=3.5',
        'numba>=0.55',
        'numpy>=1.21,<2.3',
        'onnxruntime>=1.16',
        'opencv-python-headless>=4.5.4,<5',
        'platformdirs>=2.5',
        'pyyaml>=5.4',
        'rosbags>=0.10',
        'tqdm>=4.57',
    ],
    extras_require={
        'recordings': ['mcap>=1.1', 'av>=12', 'lz4>=4', 'zstandard>=0.20'],
        'tensorrt': ['tensorrt>=10.3', 'pycuda>=2024.1'],
        'train': ['torch>=2.4', 'onnx>=1.16', 'onnxscript>=0.5'],
        'view': ['aiohttp>=3.8'],
        'cluster': ['ray>=2.40'],
    },
    python_requires='>=3.10',
    zip_safe=False,
    maintainer='seg_perception maintainers',
    maintainer_email='maintainers@example.com',
    description='Road, lane and obstacle labels and a drivable-area grid from cameras, by DeepLab on TensorRT.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'seg_perception = seg_perception.cli:main',
            'seg_perception_node = seg_perception.ros.node:main',
        ],
    },
)
