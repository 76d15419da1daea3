"""Answer: what a run says about one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from brain_tumor_tl.serve.upload import Upload

MOST = 12  # classes that are shown, the most probable first


class Answer(NamedTuple):
    """What a run says about one picture.

    Attributes:
        probabilities: Probability of each class, by name.
        picture: PNG of the picture as the network gets it.
        maps: PNG of the picture under the Grad-CAM of each class, by name; empty without maps.
        no_maps: Why there are none.
        distance: Distance to the training images; None if the run has no reference.
        threshold: The distance above which a picture is unlike them.
    """

    probabilities: Mapping[str, float]
    picture: bytes
    maps: Mapping[str, bytes]
    no_maps: str = ""
    distance: float | None = None
    threshold: float | None = None

    @property
    def unlike(self) -> bool:
        """Whether the picture is unlike the training images."""
        return self.distance is not None and self.threshold is not None and self.distance > self.threshold


Examine = Callable[[Upload], Answer]
