"""What `ros2 param describe` says about parameters whose dataclass belongs to the core, and their ranges."""

from __future__ import annotations

from typing import Any


def _live(text: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {'text': text, 'low': low, 'high': high, 'live': True}


def _fixed(text: str, low: float, high: float) -> dict[str, Any]:
    return {'text': text, 'low': low, 'high': high, 'live': False}


GRID = {
    'resolution_m': _live('Edge of a cell. Changing a grid parameter clears the grid.', 0.01, 5.0),
    'x_min_m': _live('Rear edge of the grid in base_frame.', -200.0, 200.0),
    'x_max_m': _live('Front edge of the grid in base_frame.', -200.0, 200.0),
    'y_min_m': _live('Right edge of the grid in base_frame.', -200.0, 200.0),
    'y_max_m': _live('Left edge of the grid in base_frame.', -200.0, 200.0),
    'ground_z_m': _live('Height of the ground in base_frame.', -10.0, 10.0),
    'min_confidence': _live('A pixel at or below this confidence says nothing.', 0.0, 0.999),
    'max_row_m': _live('Ground is unknown where one pixel row covers more than this length.', 0.01, 50.0),
    'obstacle_depth_m': _live(
        'How far an obstacle extends behind its contact with the ground; a cell and a pixel row at least.', 0.01, 20.0
    ),
    'half_life_s': _live('With odometry: time in which evidence halves.', 0.01, 3600.0),
    'hold_s': _live("Without odometry: how long a camera's last image counts.", 0.0, 60.0),
    'pitch_sigma_rad': _live('Pitch uncertainty; evidence weakens with the range error it causes.', 0.0, 0.2),
    'free_probability': _live('A cell is free from this probability of being drivable.', 0.501, 0.999),
    'occupied_probability': _live('A cell is occupied from this probability of not being drivable.', 0.501, 0.999),
    'corridor_width_m': _live('Width of the strip ahead whose free length is reported.', 0.1, 20.0),
    'probabilities': _live('Cells hold 0 to 100, the probability of being occupied, in place of 0, 100 and -1.'),
}

_SMALL = '{} regions of fewer {} take the label around them; 0 keeps all.'
REGIONS = {
    f'{role}_{unit}': _live(_SMALL.format(role.capitalize(), words), 0, high)
    for unit, words, high in (
        ('px', 'pixels of the label image (without calibration)', 1_000_000),
        ('m2', 'square metres (with calibration)', 1000.0),
    )
    for role in ('road', 'lane', 'obstacle', 'other')
}

CONTOURS = {
    'max_range_m': _fixed('Outlines and footprints end at this distance from the camera.', 1.0, 200.0),
    'simplify_px': _fixed('Outlines deviate from the mask by no more than this.', 0.0, 20.0),
    'min_area_px': _fixed('Smaller regions, holes and obstacles have no outline.', 1, 10_000_000),
    'max_outlines': _fixed('Most outlines, and most obstacles, per camera.', 1, 256),
}

LANES = {
    'max_range_m': _fixed('Markings beyond this distance are not used.', 5.0, 150.0),
    'half_width_m': _fixed('Markings further to the side are not used.', 2.0, 50.0),
    'max_marking_m': _fixed('Wider paint is a stop line, a zebra or a letter.', 0.05, 2.0),
    'min_confidence': _fixed('A pixel below this confidence is no marking.', 0.0, 1.0),
    'min_painted_m': _fixed('Least length of paint along a line.', 0.5, 50.0),
    'min_span_m': _fixed('Least distance from the first to the last paint of a line.', 1.0, 50.0),
    'max_gap_m': _fixed('Longest gap between dashes of one line.', 0.5, 50.0),
    'min_separation_m': _fixed('Two lines are at least this far apart.', 0.5, 5.0),
    'min_lane_m': _fixed('A narrower lane is not the ego lane.', 1.0, 10.0),
    'max_lane_m': _fixed('A wider lane is not the ego lane.', 1.0, 20.0),
    'pitch_sigma_rad': _fixed("Pitch uncertainty; part of the lines' covariance.", 0.0, 0.1),
    'coast_m': _fixed('With odometry: a line that is no longer seen is kept for this way.', 0.0, 100.0),
}

GROUPS = {'grid': GRID, 'regions': REGIONS, 'contours': CONTOURS, 'lanes': LANES}
