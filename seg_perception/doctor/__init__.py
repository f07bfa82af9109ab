"""Why nothing arrives: checks as plain functions over a snapshot of the system.

`seg_perception.ros.probe` and `seg_perception.doctor.machine` take the snapshot; nothing here talks to ROS.
"""

from seg_perception.doctor.diagnose import diagnose
from seg_perception.doctor.findings import Finding, Status
from seg_perception.doctor.snapshot import Snapshot

__all__ = ['Finding', 'Snapshot', 'Status', 'diagnose']
