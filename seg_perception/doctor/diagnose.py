"""The order of the checks: from what everything needs to what only one camera needs."""

from __future__ import annotations

from seg_perception.doctor import (
    checks_calibration,
    checks_camera,
    checks_clock,
    checks_machine,
    checks_node,
    checks_pose,
    checks_transport,
)
from seg_perception.doctor.findings import Finding
from seg_perception.doctor.snapshot import Snapshot


def diagnose(snapshot: Snapshot) -> list[Finding]:
    """Return the findings of every check that applies, errors and others in the order of the checks, cameras last."""
    findings = [*checks_machine.check(snapshot), *checks_transport.check(snapshot)]
    if snapshot.transport.failure:
        return findings
    findings += [*checks_clock.check(snapshot), *checks_node.check(snapshot)]
    if not snapshot.cameras:
        findings.append(checks_camera.none_found())
    for camera in snapshot.cameras:
        findings += checks_camera.check(snapshot, camera)
        findings += checks_calibration.check(camera)
        findings += checks_pose.check(snapshot, camera)
    return sorted(findings, key=lambda f: f.subject.startswith('camera'))
