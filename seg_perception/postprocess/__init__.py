"""From label images to things: masks, clean regions, contours, obstacle footprints and lane lines."""

from seg_perception.postprocess.masks import Masks, masks, role_mask

__all__ = ['Masks', 'masks', 'role_mask']
