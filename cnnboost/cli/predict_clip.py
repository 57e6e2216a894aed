"""`cnnboost predict` on a clip: a row for each face of each frame, and the clip with boxes and labels."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from cnnboost.cli import console, tables
from cnnboost.cli.predict_output import FACE_COLUMNS, STDOUT, csv_file, face_cells, json_sink, show_json
from cnnboost.errors import ParameterError
from cnnboost.escape import csv_cell, visible
from cnnboost.files import replacing

if TYPE_CHECKING:
    from cnnboost.deploy.face_predictions import Seen
    from cnnboost.deploy.predictor import Predictor

log = logging.getLogger("cnnboost")

_IN_MEMORY = 1 << 24

Sink = Callable[["Seen"], None]


def predict_clip(
    predictor: Predictor,
    paths: Sequence[str],
    csv_path: str | None,
    annotated: Path | None,
    as_json: bool,
    quiet: bool,
    *,
    faces: bool | None,
    threads: int | None,
) -> None:
    """Predict the faces of one clip; files appear when they are complete, or not at all."""
    if len(paths) > 1:
        raise ParameterError(f"{', '.join(paths)}: give a clip by itself, and images in another command")
    if faces is False or (faces is None and predictor.wants != "face"):
        why = "--whole" if faces is False else f"{predictor.place}, which does not say that it wants faces"
        raise ParameterError(
            f"{paths[0]}: of a clip the faces are predicted; that does not go with {why}. Give --faces"
        )
    from cnnboost.deploy.face_predictions import annotate, predict_frames
    from cnnboost.faces.clip import WRITTEN, Clip, ClipWriter
    from cnnboost.faces.tracks import HALF_LIFE, Tracker

    if annotated is not None and annotated.suffix.lower() not in WRITTEN:
        raise ParameterError(f"--annotated {annotated}: the name must end with {', '.join(WRITTEN)}")
    classes = predictor.names
    rows = frames = 0
    tracker = Tracker()
    with ExitStack() as stack:
        clip = stack.enter_context(Clip(paths[0]))
        document = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8"))
        with ExitStack() as files:
            sinks: list[Sink] = []
            mark = None
            if csv_path is not None:
                sink, mark = _csv_sink(files.enter_context(csv_file(csv_path)), classes)
                sinks.append(sink)
            if as_json:
                sinks.append(json_sink(document, partial(_entry, predictor=predictor)))
            elif csv_path is None and annotated is None:
                sinks.append(_table_sink(classes))
            writer = None
            if annotated is not None:
                writer = files.enter_context(ClipWriter(files.enter_context(replacing(annotated)), clip))
            report = files.enter_context(console.progress(quiet)("predict", "frame"))
            seen = files.enter_context(closing(predict_frames(predictor, clip, tracker, threads=threads)))
            for frame, found in seen:
                for one in found:
                    for sink in sinks:
                        sink(one)
                if writer is not None:
                    writer.write(annotate(frame.picture, found, classes), frame.time)
                frames, rows = frames + 1, rows + len(found)
                report(frames, clip.frames)
            if clip.damage and mark is not None:
                mark(frames, clip.damage)
        written = [str(path) for path in (csv_path, annotated) if path is not None and path != STDOUT]
        if as_json:
            model = {"path": predictor.place, "kind": predictor.kind, "int8": predictor.int8}
            after = {"frames": frames, "tracks": tracker.known, "damage": clip.damage, "written": written}
            show_json(document, {"model": model, "classes": classes, "half_life_s": HALF_LIFE}, after)
        elif written:
            tables.written(console.stdout, written)
        damage = clip.damage
    log.info(
        "frames: %d, faces: %d, tracks: %d; probabilities of a track are smoothed, half-life %g s",
        frames,
        rows,
        tracker.known,
        HALF_LIFE,
    )
    if damage:
        log.warning("%s is damaged: %s; what comes before is whole", paths[0], damage)
        raise typer.Exit(console.FAILED)


def _table_sink(classes: Sequence[str]) -> Sink:
    out = console.stdout
    width = max(len("label"), *(len(visible(name)) for name in classes))
    out.print(f"{'frame':>6} {'seconds':>8} {'track':>5}  {'label':{width}}  probability  box", style="bold")

    def write(row: Seen) -> None:
        x, y, wide, high = row.face[:4]
        label = visible(classes[int(row.smoothed.argmax())])
        out.file.write(
            f"{row.frame:6d} {row.time:8.3f} {row.track:5d}  {label:{width}}  {row.smoothed.max():11.3f}  "
            f"{x:.0f} {y:.0f} {wide:.0f} {high:.0f}\n"
        )

    return write


def _csv_sink(file: TextIO, classes: Sequence[str]) -> tuple[Sink, Callable[[int, str], None]]:
    """Write csv: frame, seconds, track, box, label by the smoothed probabilities; the raw ones and these.

    Return also what writes a last row, which says what of the clip could not be read.
    """
    writer = csv.writer(file, lineterminator="\n")
    names = [csv_cell(name) for name in classes]
    smooth = [csv_cell(f"smoothed_{name}") for name in classes]
    writer.writerow(["frame", "time_s", "track", *FACE_COLUMNS, "label", *names, *smooth, "error"])

    def write(row: Seen) -> None:
        numbers = [
            *row.probabilities.astype(str).tolist(),
            *row.smoothed.astype("float32").astype(str).tolist(),
        ]
        label = csv_cell(classes[int(row.smoothed.argmax())])
        writer.writerow([row.frame, f"{row.time:.6f}", row.track, *face_cells(row.face), label, *numbers, ""])

    def mark(frame: int, damage: str) -> None:
        between = [""] * (len(FACE_COLUMNS) + 3 + 2 * len(classes))
        writer.writerow([frame, *between, csv_cell(damage)])

    return write, mark


def _entry(row: Seen, predictor: Predictor) -> dict[str, Any]:
    return {
        "frame": row.frame,
        "time_s": round(row.time, 6),
        "track": row.track,
        "face": row.face.to_dict(),
        "label": predictor.names[int(row.smoothed.argmax())],
        "probabilities": predictor.named(row.probabilities),
        "smoothed": predictor.named(row.smoothed),
    }
