"""The light on a sheet, and the faults of a camera or a scanner."""

import math

import cv2
import numpy as np
from numpy.random import Generator

from train.sheets.ink import Field, Shape, log_uniform, smooth_field


def illuminate(light: str, shape: Shape, chance: Generator) -> Field:
    """Return the share of light that falls on each pixel of a sheet."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    y, x = y / shape[0] - 0.5, x / shape[1] - 0.5
    lit = np.full(shape, chance.uniform(0.5, 1.0), np.float32)
    if light == "even":
        return lit * (1 + 0.05 * smooth_field(shape, 3, chance))
    angle = chance.uniform(0, 2 * math.pi)
    lit *= np.clip(1 + chance.uniform(0.1, 0.9) * (x * math.cos(angle) + y * math.sin(angle)), 0.15, 2)
    if chance.random() < 0.5:
        lit *= 1 - chance.uniform(0.1, 1.0) * (x * x + y * y)
    if light == "shadow":
        for _ in range(int(chance.integers(1, 3))):
            angle, where = chance.uniform(0, 2 * math.pi), chance.normal(0, 0.25)
            offset = x * math.cos(angle) + y * math.sin(angle) - where
            offset = offset + chance.uniform(0, 0.2) * smooth_field(shape, 5, chance)
            softness = log_uniform(0.004, 0.15, chance)
            cover = 1 / (1 + np.exp(np.clip(-offset / softness, -30, 30)))
            if chance.random() < 0.4:
                width = chance.uniform(0.1, 0.5)
                cover = cover * (offset < width) * np.clip((width - offset) / 0.02, 0, 1)
            lit *= 1 - chance.uniform(0.15, 0.75) * cover
    return np.asarray(lit, np.float32)


def add_flash(grey: Field, chance: Generator) -> Field:
    """Add the reflection of a lamp."""
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float32)
    centre = chance.uniform(0, 1, 2) * grey.shape
    reach = chance.uniform(0.1, 0.6) * max(grey.shape)
    brightness = chance.uniform(0.1, 0.7)
    squared = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.asarray(grey + brightness * np.exp(-squared / reach**2), np.float32)


def soften(grey: Field, chance: Generator) -> Field:
    """Blur as poor focus or a moving camera does."""
    sigma = log_uniform(0.3, 2.0, chance)
    if chance.random() < 0.25:
        length = int(chance.integers(2, 7))
        kernel = np.zeros((length, length), np.float32)
        start, end = chance.integers(0, length, (2, 2)).tolist()
        cv2.line(kernel, start, end, 1.0)
        return np.asarray(cv2.filter2D(grey, -1, kernel / kernel.sum()), np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def compress(grey: Field, chance: Generator) -> Field:
    """Add the losses of JPEG."""
    levels = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(15, 90))])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)
