"""Writes images.json: small images as files, and what Pillow 13.0 makes of them.

    python images.py > images.json
"""

import io
import json

import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 23, 17


def picture(channels):
    y, x, c = np.mgrid[:HEIGHT, :WIDTH, :channels]
    pixels = ((x * 7 + y * 13 + c * 50 + x * y) % 256).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def smooth():
    y, x, c = np.mgrid[:HEIGHT, :WIDTH, :3]
    return Image.fromarray((x * 5 + y * 6 + c * 20).astype(np.uint8))


def encoded(image, **kind):
    file = io.BytesIO()
    image.save(file, **kind)
    return file.getvalue().hex()


def values(image):
    return np.asarray(image).flatten().tolist()


rgb, grey, bilinear = picture(3), picture(1), Image.Resampling.BILINEAR
rgba = rgb.copy()
rgba.putalpha(128)
palette = rgb.quantize(16)
print(json.dumps({
    "files": {
        "png rgb": encoded(rgb, format="PNG"),
        "png grey": encoded(grey, format="PNG"),
        "png rgba": encoded(rgba, format="PNG"),
        "bmp rgb": encoded(rgb, format="BMP"),
        "png palette": encoded(palette, format="PNG"),
        "jpeg": encoded(smooth(), format="JPEG", quality=95),
        "jpeg grey": encoded(smooth().convert("L"), format="JPEG", quality=95),
    },
    "rgb": values(rgb),
    "luma": values(rgb.convert("L")),
    "palette": values(palette.convert("RGB")),
    "jpeg": values(smooth()),
    "jpeg luma": values(smooth().convert("L")),
    "smaller": values(rgb.resize((8, 5), bilinear)),
    "larger": values(rgb.resize((30, 21), bilinear)),
    "narrower": values(grey.resize((9, HEIGHT), bilinear)),
    "cover": values(ImageOps.fit(rgb, (7, 7), bilinear)),
    "cover tall": values(ImageOps.fit(grey, (4, 9), bilinear)),
}))
