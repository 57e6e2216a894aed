import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.faces.face import Face, boxes_of, overlaps, strongest


def test_overlaps_are_shares_of_the_union():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]], float)
    found = overlaps(boxes[:1], boxes)[0]
    np.testing.assert_allclose(found, [1, 1 / 3, 0, 0])
    assert overlaps(boxes[:1], np.array([[5.0, 5, 10, 10]]), of="smaller").tolist() == [[1]]
    assert boxes_of([Face(1, 2, 3, 4, 0.5)]).tolist() == [[1, 2, 4, 6]]
    assert boxes_of([]).shape == (0, 4)


@given(
    st.lists(st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 50)] * 2), max_size=30), st.floats(0.1, 0.9)
)
def test_what_is_kept_overlaps_little_and_nothing_else_is_lost(faces, most):
    boxes = boxes_of([Face(*face, 0.5) for face in faces])
    kept = strongest(boxes, most, 1000).tolist()
    shared = overlaps(boxes, boxes[kept])
    assert all(shared[kept[a], b] <= most for a in range(len(kept)) for b in range(a))
    assert all(i in kept or shared[i].max() > most for i in range(len(boxes)))
    assert strongest(boxes, most, 2).tolist() == kept[:2]
