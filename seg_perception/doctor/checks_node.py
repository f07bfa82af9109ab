"""The running node: alone, active, and what it says of itself on /diagnostics."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.matching import mismatches
from seg_perception.doctor.snapshot import DiagnosticSample, NodeSnapshot, Snapshot

SUBJECT = 'node'
FACTS = ('backend', 'device', 'precision', 'fingerprint', 'reason', 'rate Hz', 'age p50 ms', 'age p99 ms', 'skipped')
"""Values of a status that are worth a line."""
START = 'ros2 launch seg_perception perception.launch.py'


def check(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings of the node, its outputs and its odometry."""
    node = snapshot.node
    if not node.count:
        yield _absent(node)
        return
    yield _running(node)
    yield from _state(node)
    yield from _diagnostics(node)
    for topic in node.outputs:
        for publisher, subscriber, reason in mismatches(topic):
            if publisher.node == node.name:
                yield warning(
                    SUBJECT,
                    'qos',
                    f'{subscriber.node} gets nothing on {topic.name}: {reason}',
                    f'change the subscription of {subscriber.node} to what is offered',
                )
    yield from _odometry(snapshot)


def _absent(node: NodeSnapshot) -> Finding:
    if not node.expected:
        return ok(SUBJECT, 'running', 'not asked for: cameras only')
    return error(
        SUBJECT,
        'running',
        f'{node.name} does not run',
        f'{START}   (or check cameras alone: seg_perception doctor --cameras-only)',
    )


def _running(node: NodeSnapshot) -> Finding:
    if node.count > 1:
        return error(
            SUBJECT,
            'running',
            f'{node.count} nodes are called {node.name}; their services and outputs mix',
            'stop all but one, or start them in different namespaces',
        )
    if not node.parameters:
        return error(
            SUBJECT,
            'running',
            f'{node.name} is there but does not answer its parameter services',
            'it hangs or dies: look at its log, then restart it',
        )
    return ok(SUBJECT, 'running', node.name)


def _state(node: NodeSnapshot) -> Iterator[Finding]:
    if node.state == 'active':
        yield ok(SUBJECT, 'state', 'active')
    elif node.state is not None:
        steps = ['configure', 'activate'] if node.state == 'unconfigured' else ['activate']
        remedy = ' && '.join(f'ros2 lifecycle set {node.name} {step}' for step in steps)
        yield error(SUBJECT, 'state', f'{node.state}: it processes nothing', remedy)
    elif node.parameters:
        yield warning(SUBJECT, 'state', 'the lifecycle service did not answer', 'look at the log of the node')


def _diagnostics(node: NodeSnapshot) -> Iterator[Finding]:
    if not node.diagnostics:
        yield warning(
            SUBJECT,
            'diagnostics',
            'nothing on /diagnostics from it',
            'is diagnostics_period_s longer than --duration? Else look at the log of the node',
        )
    for sample in node.diagnostics:
        yield _status(sample)


def _status(sample: DiagnosticSample) -> Finding:
    part = sample.name.rpartition(': ')[2]
    facts = [f'{key} {sample.values[key]}' for key in FACTS if sample.values.get(key)]
    text = '; '.join([f'{part}: {sample.message}', *facts])
    if sample.level == 0:
        return ok(SUBJECT, 'diagnostics', text)
    make = warning if sample.level == 1 else error
    return make(SUBJECT, 'diagnostics', text, 'see docs/doctor.md; its counters: ros2 topic echo /diagnostics')


def _odometry(snapshot: Snapshot) -> Iterator[Finding]:
    node = snapshot.node
    if node.parameters.get('odometry') != 'topic':
        return
    for publisher, subscriber, reason in mismatches(node.odometry):
        if subscriber.node == node.name:
            text = f'nothing comes from {publisher.node} on {node.odometry.name}: {reason}'
            yield error(SUBJECT, 'odometry', text, 'publish it reliable, or best effort and volatile')
            return
    sample, base = node.odometry_sample, snapshot.base_frame
    if not node.odometry.publishers:
        yield ok(SUBJECT, 'odometry', f'none on {node.odometry.name}: the grid is not motion-compensated')
    elif sample is None:
        text = f'{node.odometry.publishers[0].node} publishes {node.odometry.name} but sent nothing'
        yield error(SUBJECT, 'odometry', text, 'look at its log, or set the parameter odometry to none')
    elif sample.child_frame_id not in ('', base):
        text = f'odometry is of frame {sample.child_frame_id!r}; expected {base!r}'
        yield error(
            SUBJECT, 'odometry', text, f'set base_frame to {sample.child_frame_id}, or publish odometry of {base}'
        )
    else:
        yield ok(SUBJECT, 'odometry', f'{node.odometry.name} from {node.odometry.publishers[0].node}')
