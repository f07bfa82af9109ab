"""Recordings through the pipeline without ROS: labelled bags, videos, reports, comparisons."""
