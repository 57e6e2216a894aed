import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.faces.face import Face
from cnnboost.faces.tracks import Tracker


def face(x, y=0.0, size=40.0):
    return Face(x, y, size, size, 0.9)


def one_hot(*classes):
    return np.eye(3)[list(classes)]


def test_two_faces_that_pass_each_other_keep_their_numbers():
    tracker = Tracker()
    numbers = []
    for step in range(11):
        faces = [face(8 * step, 0), face(80 - 8 * step, 60)]
        order = [1, 0] if step % 2 else [0, 1]  # the detector's order says nothing
        tracks = tracker.follow([faces[i] for i in order], one_hot(0, 1), step / 25)
        numbers.append([tracks[order.index(i)].number for i in range(2)])
    assert numbers == [[1, 2]] * 11
    assert tracker.known == 2


def test_of_two_that_overlap_the_nearer_one_goes_on():
    tracker = Tracker()
    tracker.follow([face(0)], one_hot(0), 0)
    far, near = tracker.follow([face(12), face(2)], one_hot(0, 0), 0.04)
    assert (far.number, near.number) == (2, 1)


def test_a_face_is_waited_for():
    tracker = Tracker(patience=1.0)
    tracker.follow([face(0)], one_hot(0), 0)
    assert tracker.follow([], one_hot(), 0.5) == []
    assert tracker.follow([face(3)], one_hot(0), 1.0)[0].number == 1
    assert tracker.follow([face(3)], one_hot(0), 2.1)[0].number == 2


@pytest.mark.parametrize("times", [[0, 1], [0, 0.25, 0.5, 0.75, 1], [0, 0.1, 0.9, 1]])
def test_the_half_life_is_in_seconds_however_frames_come(times):
    tracker = Tracker(half_life=1.0)
    for number, time in enumerate(times):
        (track,) = tracker.follow([face(0)], one_hot(min(number, 1)), time)
    np.testing.assert_allclose(track.smoothed, [0.5, 0.5, 0])


def test_without_a_half_life_nothing_is_smoothed_and_time_may_stand_still():
    tracker = Tracker(half_life=0)
    tracker.follow([face(0)], one_hot(0), 0)
    assert tracker.follow([face(0)], one_hot(1), 0.04)[0].smoothed.tolist() == [0, 1, 0]
    tracker = Tracker()
    tracker.follow([face(0)], one_hot(0), 1.0)
    assert tracker.follow([face(0)], one_hot(1), 0.9)[0].smoothed.tolist() == [1, 0, 0]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 100)), max_size=6), max_size=6
    ),
    st.floats(0, 5),
)
def test_each_face_has_one_track_and_probabilities_stay_such(frames, half_life):
    tracker = Tracker(half_life)
    for number, boxes in enumerate(frames):
        proba = np.random.default_rng(number).dirichlet(np.ones(3), len(boxes))
        tracks = tracker.follow([face(*box) for box in boxes], proba, number / 25)
        assert len({track.number for track in tracks}) == len(boxes)
        for track in tracks:
            assert track.smoothed.sum() == pytest.approx(1)
