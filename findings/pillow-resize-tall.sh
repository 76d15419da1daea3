#!/usr/bin/env bash
# The pixels of Image.resize depend on Pillow's version, also for plain 8-bit grey pictures and the same filter: 13.0.0
# gives other values than 12.3.0 for pictures that are taller than wide, so decoded images kept from one version can't be
# mixed with those of another. Square and wide pictures keep their pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 12.3.0 13.0.0; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pillow==$version" numpy==2.4.6
    (cd "$folder" && venv/bin/python - <<'PY'
import numpy as np
from PIL import Image, __version__

random = np.random.default_rng(0)
for name, shape in {"tall": (600, 400), "wide": (400, 600), "square": (512, 512)}.items():
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    small = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    np.save(f"{name}-{__version__}.npy", small)
PY
    )
done
cd "$folder" && venv/bin/python - <<'PY'
import numpy as np

changed = {}
for name in ("tall", "wide", "square"):
    old, new = (np.load(f"{name}-{version}.npy").astype(int) for version in ("12.3.0", "13.0.0"))
    changed[name] = int((old != new).sum())
    print(f"{name}: {changed[name]} of {old.size} pixels differ, by {np.abs(old - new).max()} at most")
assert changed["tall"] > 0 and changed["wide"] == changed["square"] == 0, changed
PY
