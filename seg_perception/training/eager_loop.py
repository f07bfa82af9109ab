"""The usual hand-written node around a PyTorch network; `seg_perception bench` measures the package against it."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from cv_bridge import CvBridge
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from torch.nn import functional as F

from seg_perception.training.checkpoint import load_checkpoint, network_from


class EagerLoop:
    """cv_bridge, resize, tensor, network in eager mode, upsampled logits, NumPy argmax, cv_bridge."""

    def __init__(self, checkpoint: Path) -> None:
        loaded = load_checkpoint(checkpoint)
        self._network = network_from(loaded.config).eval()
        self._network.load_state_dict(loaded.network)
        self._size = (loaded.config.input_width, loaded.config.input_height)
        self._bridge = CvBridge()

    def frame_ms(self, data: bytes) -> float:
        """Return the time from a serialised image to its serialised label image."""
        start_s = time.perf_counter()
        message = deserialize_message(data, Image)
        rgb = cv2.resize(self._bridge.imgmsg_to_cv2(message, 'rgb8'), self._size)
        with torch.no_grad():
            tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
            logits = F.interpolate(self._network(tensor), size=rgb.shape[:2], mode='bilinear', align_corners=False)
        labels = logits.numpy()[0].argmax(axis=0).astype(np.uint8)
        out = self._bridge.cv2_to_imgmsg(labels, 'mono8')
        out.header = message.header
        serialize_message(out)
        return (time.perf_counter() - start_s) * 1e3
