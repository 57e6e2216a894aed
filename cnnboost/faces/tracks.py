"""Faces that are followed through a clip, and what a classifier says of each, smoothed over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnboost.faces.face import Face, boxes_of, overlaps

#: Seconds after which what was seen counts half.
HALF_LIFE = 0.5
#: Share of their union that two boxes have in common where they are of the same face.
OVERLAP = 0.3
#: Seconds for which a face that is not seen is waited for.
PATIENCE = 1.0


@dataclass
class Track:
    """One face through the frames: its number, where and when it was seen last, and its probabilities."""

    number: int
    face: Face
    time: float
    smoothed: np.ndarray


class Tracker:
    """Follow faces from frame to frame.

    A face belongs to the track whose last box overlaps its own the most, by intersection over union, each
    track and each face once. Probabilities are smoothed exponentially over the seconds of a track, so that
    frames that come at uneven times count as they should: after a half-life, what was seen counts half.

    Parameters
    ----------
    half_life : float
        In seconds; 0 smooths nothing.
    overlap : float
        Least intersection over union of a face and the last box of its track.
    patience : float
        Seconds after which a track that was not seen has ended.

    Examples
    --------
    >>> from cnnboost.faces.face import Face
    >>> tracker = Tracker(half_life=1.0)
    >>> for second, proba in enumerate([[1.0, 0.0], [0.0, 1.0]]):
    ...     (track,) = tracker.follow([Face(10, 10, 40, 40, 0.9)], np.array([proba]), second)
    >>> track.number, track.smoothed
    (1, array([0.5, 0.5]))
    """

    def __init__(
        self, half_life: float = HALF_LIFE, overlap: float = OVERLAP, patience: float = PATIENCE
    ) -> None:
        self.half_life, self.overlap, self.patience = half_life, overlap, patience
        self.known = 0
        self._tracks: list[Track] = []

    def follow(self, faces: Sequence[Face], probabilities: np.ndarray, time: float) -> list[Track]:
        """Return the track of each face of the next frame; `probabilities` has a row for each."""
        self._tracks = [track for track in self._tracks if time - track.time <= self.patience]
        found: dict[int, Track] = {}
        for i, j in self._pairs(faces):
            track = self._tracks[i]
            if j in found or any(track is other for other in found.values()):
                continue
            found[j] = self._moved(track, faces[j], probabilities[j], time)
        for j, face in enumerate(faces):
            if j not in found:
                self.known += 1
                found[j] = Track(self.known, face, time, np.array(probabilities[j]))
                self._tracks.append(found[j])
        return [found[j] for j in range(len(faces))]

    def _pairs(self, faces: Sequence[Face]) -> list[tuple[int, int]]:
        """Return track and face of all pairs that overlap enough, those that overlap most first."""
        if not self._tracks or not faces:
            return []
        shared = overlaps(boxes_of([track.face for track in self._tracks]), boxes_of(faces))
        pairs = np.argwhere(shared >= self.overlap)
        order = np.argsort(-shared[tuple(pairs.T)], kind="stable")
        return [(int(i), int(j)) for i, j in pairs[order]]

    def _moved(self, track: Track, face: Face, probabilities: np.ndarray, time: float) -> Track:
        passed = max(0.0, time - track.time)
        kept = 0.5 ** (passed / self.half_life) if self.half_life > 0 else 0.0
        track.smoothed = kept * track.smoothed + (1 - kept) * probabilities
        track.face, track.time = face, time
        return track
