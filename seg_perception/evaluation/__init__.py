"""Measuring a model file against labelled images, by the path the node takes."""
