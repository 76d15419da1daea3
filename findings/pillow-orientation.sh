#!/usr/bin/env bash
# Pillow applies the Orientation tag of a TIFF while it loads the pixels, and of no other format: the same picture with
# Orientation 6 comes back upright from TIFF and on its side from JPEG, PNG and WebP. Worse, an uncompressed TIFF with
# Orientation 5 to 8 comes back with scrambled pixels and the wrong shape, without a warning, if it is opened by its
# path: Pillow maps the file to memory with width and height already exchanged. The same file opened through a file
# object, and the same picture compressed by LZW, are right. Seen with 12.3.0 and 13.0.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 12.3.0 13.0.0; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pillow==$version" numpy==2.4.6
    (cd "$folder" && venv/bin/python - <<'PY'
import numpy as np
from PIL import Image, __version__

stored = (np.arange(800) % 251).astype(np.uint8).reshape(20, 40)
upright = np.rot90(stored, -1)  # Orientation 6: turn clockwise to view
exif = Image.Exif()
exif[274] = 6
found = {}
for name, options in {
    "raw.tiff": {"compression": "raw"}, "lzw.tiff": {"compression": "tiff_lzw"}, "picture.png": {},
    "picture.webp": {"lossless": True}, "picture.jpeg": {},
}.items():
    picture = Image.fromarray(stored)
    (picture.convert("RGB") if name.endswith("webp") else picture).save(name, exif=exif, **options)

    def kind(image):
        pixels = np.asarray(image.convert("L")).astype(int)
        for word, wanted in (("as stored", stored), ("upright", upright)):
            if pixels.shape == wanted.shape and np.abs(pixels - wanted).mean() < 12:  # JPEG loses a little
                return word
        return f"scrambled, {pixels.shape[1]} x {pixels.shape[0]}"

    with open(name, "rb") as file:
        found[name] = (kind(Image.open(name)), kind(Image.open(file)))
    print(f"Pillow {__version__}, {name}: by its path {found[name][0]}; through a file object {found[name][1]}")
assert found["raw.tiff"] == ("scrambled, 40 x 20", "upright"), "the uncompressed TIFF is read otherwise now"
assert found["lzw.tiff"] == ("upright", "upright")
assert all(found[f"picture.{end}"] == ("as stored", "as stored") for end in ("png", "webp", "jpeg"))
PY
    )
done
