"""Which publishers and subscribers understand each other (DDS 1.4, 2.2.3: requested against offered)."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.doctor.snapshot import Endpoint, Topic

STRENGTH = {
    'best_effort': 0,
    'reliable': 1,
    'volatile': 0,
    'transient_local': 1,
    'automatic': 0,
    'manual_by_topic': 1,
}


def mismatch(publisher: Endpoint, subscriber: Endpoint) -> str:
    """Return the policy by which no message can pass, with both values; '' when they match."""
    if publisher.type != subscriber.type:
        return f'type: {publisher.type} is offered, {subscriber.type} requested'
    offered, requested = publisher.qos, subscriber.qos
    for policy in ('reliability', 'durability', 'liveliness'):
        have, want = getattr(offered, policy), getattr(requested, policy)
        # Values the middleware does not tell ('unknown', 'system_default') cannot be judged.
        if have in STRENGTH and want in STRENGTH and STRENGTH[have] < STRENGTH[want]:
            return f'{policy}: {have} is offered, {want} requested'
    if offered.deadline_s > requested.deadline_s:
        return f'deadline: {offered.deadline_s:g} s is offered, {requested.deadline_s:g} s requested'
    if offered.lease_s > requested.lease_s:
        return f'liveliness lease: {offered.lease_s:g} s is offered, {requested.lease_s:g} s requested'
    return ''


def mismatches(topic: Topic) -> Iterator[tuple[Endpoint, Endpoint, str]]:
    """Yield every publisher and subscriber of a topic between which nothing passes, and why."""
    for publisher in topic.publishers:
        for subscriber in topic.subscribers:
            reason = mismatch(publisher, subscriber)
            if reason:
                yield publisher, subscriber, reason
