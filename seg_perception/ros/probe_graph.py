"""The graph of nodes and topics as plain values."""

from __future__ import annotations

import math
from typing import Any

from seg_perception.doctor.snapshot import Endpoint, Qos, Topic


class Graph:
    """Reads the graph through one node, and leaves that node out of it."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._own = f'/{node.get_name()}'

    def fingerprint(self) -> Any:
        """Return a value that changes when a node or topic appears; None while there is no other node."""
        nodes = self.nodes()
        return (sorted(self._node.get_topic_names_and_types()), sorted(nodes)) if nodes else None

    def nodes(self) -> list[str]:
        """Return the full names of all nodes, doubled ones as often as they are there."""
        pairs = self._node.get_node_names_and_namespaces()
        return [f'{space.rstrip("/")}/{name}' for name, space in pairs if name != self._node.get_name()]

    def types(self) -> dict[str, str]:
        """Return the type of every topic that somebody publishes."""
        pairs = self._node.get_topic_names_and_types()
        return {topic: kinds[0] for topic, kinds in pairs if self._node.count_publishers(topic)}

    def subscribed(self, node: str) -> dict[str, str]:
        """Return the topics a node subscribes to, after remapping, and their types."""
        space, _, name = node.rpartition('/')
        try:
            pairs = self._node.get_subscriber_names_and_types_by_node(name, space or '/')
        except RuntimeError:  # rcl's NodeNameNonExistentError: it has just gone
            return {}
        return {topic: kinds[0] for topic, kinds in pairs}

    def topic(self, name: str) -> Topic:
        """Return publishers and subscribers of a topic."""
        return Topic(
            name,
            self._endpoints(self._node.get_publishers_info_by_topic(name)),
            self._endpoints(self._node.get_subscriptions_info_by_topic(name)),
        )

    def _endpoints(self, infos: list[Any]) -> tuple[Endpoint, ...]:
        found = (
            Endpoint(f'{i.node_namespace.rstrip("/")}/{i.node_name}', i.topic_type, _qos(i.qos_profile)) for i in infos
        )
        return tuple(e for e in found if e.node != self._own)


def _qos(profile: Any) -> Qos:
    return Qos(
        profile.reliability.name.lower(),
        profile.durability.name.lower(),
        _seconds(profile.deadline),
        profile.liveliness.name.lower(),
        _seconds(profile.liveliness_lease_duration),
    )


def _seconds(duration: Any) -> float:
    """Zero stands for no limit, as does anything beyond a hundred years."""
    ns = duration.nanoseconds
    return math.inf if ns <= 0 or ns > 3e18 else ns * 1e-9
