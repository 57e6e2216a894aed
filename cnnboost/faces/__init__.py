"""Faces in photographs and clips: where they are, cut out as a classifier wants them, followed over time."""
