"""Camera perception for ROS 2: road, lane and obstacle labels and a drivable-area grid."""

__version__ = '0.1.0'
