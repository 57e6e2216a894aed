from contextlib import suppress

import pytest

from cnnboost.serve.limits import Limits, Refused, Room

LIMITS = Limits(bytes=100, images=5, queue=8)


def refusal(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value


def test_a_body_is_refused_before_it_is_too_large():
    room = Room(LIMITS)
    with room.share() as share:
        share.add_bytes(60)
        assert refusal(share.add_bytes, 41).status == 413
        share.add_bytes(40)
        assert room.bytes == 100
    assert room.bytes == 0


def test_all_bodies_together_have_a_limit():
    room = Room(LIMITS)
    room.bytes = LIMITS.held_bytes - 10
    with room.share() as share:
        refused = refusal(share.expect, 11)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        share.add_bytes(10)
    assert room.bytes == LIMITS.held_bytes - 10


def test_images_are_counted_over_all_requests_and_given_back():
    room = Room(LIMITS)
    with room.share() as first, room.share() as second:
        assert refusal(first.add_images, 6).status == 413
        first.add_images(5)
        assert refusal(second.add_images, 4).status == 503
        second.add_images(3)
        with room.share() as third:
            assert refusal(third.expect, 1).status == 503  # before its body is read
    assert room.images == 0


def test_what_one_request_held_is_given_back_when_it_fails():
    room = Room(LIMITS)
    with suppress(ZeroDivisionError), room.share() as share:
        share.add_bytes(5)
        share.add_images(5)
        _ = 1 / 0
    assert (room.bytes, room.images) == (0, 0)
