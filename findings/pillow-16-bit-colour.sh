#!/usr/bin/env bash
# Pillow 12.3.0 opens a 16-bit RGB PNG as mode "RGB" and keeps the high byte of each sample, without a warning. A 12-bit
# slice (0 to 4095) that was saved as 16-bit colour therefore comes out with a brightest value of 15 of 255: nearly
# black. A 16-bit grey PNG of the same values opens as "I;16" with all of them. Nothing in `image.mode`, `image.info` or
# `getbands()` tells the two kinds of RGB apart; only the bit depth in the file's header (byte 24) does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.3.0 pypng==0.20220715.0
cd "$folder"
venv/bin/python - <<'PY'
import png
from PIL import Image, __version__

columns = list(range(0, 4096, 16))
with open("colour.png", "wb") as file:
    png.Writer(256, 2, greyscale=False, bitdepth=16).write(file, [[v for v in columns for _ in range(3)]] * 2)
with open("grey.png", "wb") as file:
    png.Writer(256, 2, greyscale=True, bitdepth=16).write(file, [columns] * 2)
colour, grey = Image.open("colour.png"), Image.open("grey.png")
depth = open("colour.png", "rb").read(25)[24]
print(f"Pillow {__version__}: 16-bit RGB of 0..4080 -> mode {colour.mode}, extrema {colour.getextrema()}, info {colour.info}")
print(f"the same values in grey -> mode {grey.mode}, extrema {grey.getextrema()}; bit depth in the header: {depth}")
assert (colour.mode, colour.getextrema(), colour.info) == ("RGB", ((0, 15),) * 3, {}), "the colour file is read otherwise now"
assert (grey.mode, grey.getextrema(), depth) == ("I;16", (0, 4080), 16), "the grey file is read otherwise now"
PY
# Output on 2026-11-27:
# Pillow 12.3.0: 16-bit RGB of 0..4080 -> mode RGB, extrema ((0, 15), (0, 15), (0, 15)), info {}
# the same values in grey -> mode I;16, extrema (0, 4080); bit depth in the header: 16
