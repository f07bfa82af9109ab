"""What the running perception node calls the vehicle's frame: its grid is in that frame, or else in that of the odometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters

REQUEST = GetParameters.Request(names=['base_frame'])


class BaseFrame:
    """Knows the node's parameter `base_frame` as of the newest answer to `ask`."""

    def __init__(self, node: Any, perception: str, answered: Callable[[], Any] = lambda: None) -> None:
        """Create the client.

        Args:
            node: the rclpy node that asks; it has to be spun.
            perception: full name of the perception node.
            answered: called after the first answer.
        """
        self.name = ''
        """Such as 'base_link'; '' until the node has answered."""
        self._node, self._answered = node, answered
        self._client = node.create_client(GetParameters, f'{perception}/get_parameters')
        self._question: Any = None

    def ask(self) -> None:
        """Ask the node; ask again if no answer comes, for one may be lost while DDS still matches the two."""
        if self._question is not None:
            self._client.remove_pending_request(self._question)
            self._question = None
        if self._client.service_is_ready():
            self._question = self._client.call_async(REQUEST)
            self._question.add_done_callback(self._on_answer)

    def grid_frame(self, frame_id: str) -> str:
        """Return what `OccupancyGrid.frame` calls a grid message's frame: 'vehicle' or 'odom'."""
        return 'vehicle' if frame_id == self.name else 'odom'

    def close(self) -> None:
        """Remove the client."""
        self._node.destroy_client(self._client)

    def _on_answer(self, question: Any) -> None:
        values = question.result().values
        if values:
            first, self.name = not self.name, values[0].string_value
            if first:
                self._answered()
