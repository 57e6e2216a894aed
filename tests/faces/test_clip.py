import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import DataError
from cnnboost.faces.clip import Clip, ClipWriter, is_clip
from tests.faces.clips import background, write_clip

pytest.importorskip("av")


def shades(count=10, size=(64, 48)):
    """Frames that are told by their brightness, with a bright left half."""
    frames = []
    for number in range(count):
        frame = Image.new("RGB", size, (20 + 10 * number,) * 3)
        frame.paste((250, 250, 250), (0, 0, size[0] // 2, size[1]))
        frames.append(frame)
    return frames


def right_half(frame):
    pixels = np.asarray(frame.picture.convert("L"))
    return pixels[:, pixels.shape[1] // 2 + 4 :].mean()


def test_frames_come_in_order_at_their_times(tmp_path):
    times = [0, 40, 80, 300, 310, 320, 1000, 1001, 1500, 2000]
    for name in ("a.mp4", "a.mkv"):
        with Clip(str(write_clip(tmp_path / name, shades(), times))) as clip:
            frames = list(clip)
        assert [frame.number for frame in frames] == list(range(10))
        np.testing.assert_allclose([frame.time for frame in frames], np.array(times) / 1000, atol=2e-3)
        np.testing.assert_allclose([right_half(frame) for frame in frames], 20 + 10 * np.arange(10), atol=4)
        assert clip.damage is None
        assert clip.frames == 10 or name == "a.mkv"


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_clip_comes_upright(tmp_path, rotation):
    (frame, *_) = shades(1)
    stored = frame.rotate(-rotation, expand=True)
    with Clip(str(write_clip(tmp_path / "a.mp4", [stored] * 3, rotation=rotation))) as clip:
        found = next(iter(clip)).picture
    assert found.size == frame.size
    np.testing.assert_allclose(np.asarray(found, int), np.asarray(frame), atol=60)
    assert np.abs(np.asarray(found, int) - np.asarray(frame)).mean() < 6


def test_what_is_cut_off_is_said(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    path = write_clip(
        tmp_path / "a.mp4", [Image.fromarray(frame) for frame in noise], options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Clip(str(path)) as clip:
        count = sum(1 for _ in clip)
    assert 5 < count < 40
    assert clip.damage


def test_damaged_parts_are_left_out_and_the_rest_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    path = write_clip(
        tmp_path / "a.mp4", [Image.fromarray(frame) for frame in noise], options={"movflags": "faststart"}
    )
    with Clip(str(path)) as clip:
        whole = {frame.time: np.asarray(frame.picture) for frame in clip}
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    with Clip(str(path)) as clip:
        found = {frame.time: np.asarray(frame.picture) for frame in clip}
    same = [time for time in found if np.array_equal(found[time], whole.get(time))]
    assert len(found) >= 20
    assert 10 <= len(same) < 40


def test_a_clip_that_ends_before_its_first_frame_is_damaged(tmp_path):
    path = write_clip(tmp_path / "a.mp4", shades(3), options={"movflags": "frag_keyframe+empty_moov"})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moof") - 4])
    with Clip(str(path)) as clip:
        assert list(clip) == []
    assert clip.damage == "it holds no frame"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), ["cannot be read as a video"]),
        (lambda path: path.write_bytes(b"nothing of the kind" * 100), ["cannot be read as a video"]),
        (lambda path: write_clip(path, [], sound=True), ["only sound"]),
        (lambda path: path.mkdir(), ["a folder"]),
        (lambda path: None, ["No such file"]),
        (
            lambda path: path.write_bytes(write_clip(path, shades()).read_bytes()[:900]),
            ["damaged at its beginning"],
        ),
        (
            lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
            ["cannot be read as a video"],
        ),
    ],
)
def test_what_is_not_a_clip_is_named(tmp_path, make, words):
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(DataError) as error:
        Clip(str(path))
    assert all(word in str(error.value) for word in [str(path), *words])


def test_a_clip_with_sound_ends_with_its_pictures(tmp_path):
    with Clip(str(write_clip(tmp_path / "a.mp4", shades(), sound=True))) as clip:
        assert sum(1 for _ in clip) == 10
    assert clip.damage is None


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_what_is_written_has_the_same_times(tmp_path, size):
    times = [0, 40, 80, 300, 1000]
    source = write_clip(tmp_path / "a.mp4", shades(5), times)
    with Clip(str(source)) as clip, ClipWriter(tmp_path / "b.mp4", clip) as writer:
        for frame in clip:
            writer.write(frame.picture.resize(size), frame.time)
    with Clip(str(tmp_path / "b.mp4")) as clip:
        frames = list(clip)
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) / 1000, atol=2e-3)
    assert frames[0].picture.size == (64, 48)
    np.testing.assert_allclose([right_half(frame) for frame in frames], 20 + 10 * np.arange(5), atol=6)


def test_times_that_go_back_do_not_end_the_writing(tmp_path):
    frames = shades(3)
    source = write_clip(tmp_path / "a.mp4", frames)
    with Clip(str(source)) as clip, ClipWriter(tmp_path / "b.mp4", clip) as writer:
        for frame, time in zip(frames, (0, 0.08, 0.04), strict=True):
            writer.write(frame, time)
    with Clip(str(tmp_path / "b.mp4")) as clip:
        assert [round(right_half(frame), -1) for frame in clip] == [20, 30, 40]


def test_names_of_clips():
    assert is_clip("a/B.MP4")
    assert is_clip("x.mkv")
    assert not is_clip("a.png")
    assert not is_clip("mp4")
    assert background().size == (480, 320)
