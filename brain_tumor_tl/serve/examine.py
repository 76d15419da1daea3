"""Examine: a run's answer to a picture that was sent, the same as `predict` and `explain` give for the file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import IO

from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.data.formats import NIFTI, UnreadableError, format_of, reason_of
from brain_tumor_tl.data.reader import refusing_bombs
from brain_tumor_tl.data.volumes import count_pictures
from brain_tumor_tl.inference.explain import explain
from brain_tumor_tl.inference.overlay import as_png, sized
from brain_tumor_tl.inference.pictures import stacked
from brain_tumor_tl.inference.predict import answer
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.overlay import overlay, to_image
from brain_tumor_tl.serve.answer import MOST, Answer
from brain_tumor_tl.serve.upload import Upload

SINGLE = "where a single one is expected; save a slice as PNG, or give the file to `brain-tumor-tl predict`"


class Examiner:
    """Answers pictures with a run.

    Args:
        run: The run.

    Raises:
        ValueError: What the run kept of its training images is damaged.
    """

    def __init__(self, run: TrainedRun) -> None:
        self.run = run
        self.reference = run.reference

    def __call__(self, upload: Upload) -> Answer:
        """Return what the run says about a picture.

        Raises:
            ValueError: It can't be read.
        """
        pixels = self.decode(upload)
        features, (values,) = answer(self.run, stacked([pixels]), mirrored=False)
        probabilities = dict(zip(self.run.classes, values.tolist(), strict=True))
        maps, no_maps = self.maps(pixels, sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:MOST])
        return Answer(
            probabilities,
            as_png(sized(to_image(pixels))),
            maps,
            no_maps,
            distance=float(self.reference.distances(features)[0]) if self.reference else None,
            threshold=self.reference.threshold if self.reference else None,
        )

    def decode(self, upload: Upload) -> Pixels:
        """Return a picture as in training, uint8 `(C, size, size)`.

        Raises:
            ValueError: It can't be read, or the file holds several.
        """
        source = io.BytesIO(upload.content)
        with refusing_bombs():
            try:
                check_single(upload.name, source)
                return self.run.pixels(source)
            except Exception as error:  # decoders raise nearly anything on broken bytes
                raise ValueError(reason_of(error)) from error

    def maps(self, pixels: Pixels, classes: Sequence[str]) -> tuple[Mapping[str, bytes], str]:
        """Return the PNG of a picture under the Grad-CAM of each class, on one scale, or why there are none."""
        try:
            (found,) = explain(self.run, stacked([pixels]), classes)
        except ValueError as error:
            return {}, str(error)
        picture = sized(to_image(pixels))
        layers = (overlay(picture, values, found.scale) for values in found.maps)
        return dict(zip(found.classes, map(as_png, layers), strict=True)), ""


def check_single(name: str, source: IO[bytes]) -> None:
    """Raise an UnreadableError for a file of several pictures.

    Args:
        name: Its name.
        source: Its content.
    """
    if name.lower().endswith(NIFTI):
        raise UnreadableError(f"a NIfTI volume, {SINGLE}")
    if (kind := format_of(source)) and (count := count_pictures(source, kind)) > 1:
        raise UnreadableError(f"{count} pictures in one file, {SINGLE}")
