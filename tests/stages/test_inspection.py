import shutil
from dataclasses import replace

import pytest

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.files import read_json


def test_inspection(job, face_folder):
    shutil.copy(face_folder / "train/sad/Training_0.png", face_folder / "train/happy/Training_99.png")
    try:
        found = stages.inspect(replace(job, data=face_folder))
    finally:
        (face_folder / "train/happy/Training_99.png").unlink()
    audit = read_json(found.path)
    assert audit["source"] == face_folder.name
    assert audit["duplicates"]["exact"]["contradicting_groups"] == 1
    assert audit["counts"]["train"]["happy"] == 13
    assert all(path.is_file() for path in found.figures)


@pytest.mark.fer2013
def test_fer2013_is_audited_as_it_is_known(fer2013, tmp_path):
    job = stages.Job(recipe=load_recipe("oslo"), data=fer2013, models=tmp_path, reports=tmp_path)
    audit = stages.inspect(job).document
    exact = audit["duplicates"]["exact"]
    assert (exact["groups"], exact["surplus"]) == (1273, 1532)
    assert (exact["contradicting_groups"], exact["groups_across_splits"]) == (47, 270)
    assert len(audit["constant"]) == 12
    assert sum(audit["counts"]["train"].values()) == 28709
