import shutil
from dataclasses import replace

import pytest

from cnnboost.errors import DataError


def test_bad_images_are_left_out_and_listed(job, face_folder, tmp_path, change):
    shutil.copytree(face_folder, tmp_path / "faces")
    (tmp_path / "faces/train/sad/Training_3.png").write_bytes(b"")
    faces = replace(change(job, data={"source": None, "size": 48}), data=tmp_path / "faces")
    with pytest.raises(DataError, match=r"Training_3\.png"):
        _ = faces.images
    skipping = replace(faces, on_bad="skip")
    assert len(skipping.images.train) == 35
    table = (job.reports_dir / "bad_inputs.csv").read_text().splitlines()
    assert table[0] == "place,reason"
    assert "Training_3.png" in table[1]
    assert len(table) == 2
    shutil.copy(tmp_path / "faces/train/sad/Training_2.png", tmp_path / "faces/train/sad/Training_3.png")
    assert len(replace(faces, on_bad="skip").images.train) == 36
    assert not (job.reports_dir / "bad_inputs.csv").exists()


def test_a_source_is_needed(job, change, monkeypatch):
    free = change(job, data={"source": None})
    with pytest.raises(DataError, match="CNNBOOST_DATA"):
        _ = free.images
    monkeypatch.setenv("CNNBOOST_DATA", "digits")
    assert len(free.images) == 1797
