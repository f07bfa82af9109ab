"""What `ros2 param describe` says about parameters whose dataclass belongs to the core, and their ranges."""

from __future__ import annotations

from typing import Any


def _live(text: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {'text': text, 'low': low, 'high': high, 'live': True}


GRID = {
    'resolution_m': _live('Edge of a cell. Changing a grid parameter clears the grid.', 0.01, 5.0),
    'x_min_m': _live('Rear edge of the grid in base_frame.', -200.0, 200.0),
    'x_max_m': _live('Front edge of the grid in base_frame.', -200.0, 200.0),
    'y_min_m': _live('Right edge of the grid in base_frame.', -200.0, 200.0),
    'y_max_m': _live('Left edge of the grid in base_frame.', -200.0, 200.0),
    'ground_z_m': _live('Height of the ground in base_frame.', -10.0, 10.0),
    'min_confidence': _live('A pixel at or below this confidence says nothing.', 0.0, 0.999),
    'max_row_m': _live('Ground is unknown where one pixel row covers more than this length.', 0.01, 50.0),
    'obstacle_depth_m': _live('How far an obstacle extends behind its contact with the ground.', 0.01, 20.0),
    'half_life_s': _live('With odometry: time in which evidence halves.', 0.01, 3600.0),
    'hold_s': _live("Without odometry: how long a camera's last image counts.", 0.0, 60.0),
    'pitch_sigma_rad': _live('Pitch uncertainty; evidence weakens with the range error it causes.', 0.0, 0.2),
    'free_probability': _live('A cell is free from this probability of being drivable.', 0.501, 0.999),
    'occupied_probability': _live('A cell is occupied from this probability of not being drivable.', 0.501, 0.999),
    'corridor_width_m': _live('Width of the strip ahead whose free length is reported.', 0.1, 20.0),
    'probabilities': _live('Cells hold 0 to 100, the probability of being occupied, in place of 0, 100 and -1.'),
}

GROUPS = {'grid': GRID}
