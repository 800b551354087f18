"""``examples/hardware/camera.py``, with OpenCV and a film that the test makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node

from .robots import Robot, sent

if TYPE_CHECKING:
    from pathlib import Path

cv2: Any = pytest.importorskip("cv2")
np: Any = pytest.importorskip("numpy")

PICTURES = 12


def made(path: Path, width: int, height: int) -> Path:
    """A film of grey pictures that become brighter."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50.0, (width, height))
    assert writer.isOpened()
    for number in range(PICTURES):
        writer.write(np.full((height, width, 3), 20 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A small one."""
    return made(tmp_path / "film.avi", 64, 48)


def test_a_film_is_recorded_and_verified_without_it(film: Path, tmp_path: Path, recordings_dir: Path) -> None:
    """Every picture of it, in order, with the time of each; the run ends with the film."""
    robot = Robot("camera.py", [str(film)], "camera")
    robot.run(lambda: robot.driver.ended, name="film")
    assert robot.driver.count == {"opened": 1, "pictures": PICTURES}
    images = sent("film", "camera", "image", recordings_dir)
    assert len(images) == PICTURES
    assert [image.data.mean() for image in images] == pytest.approx([20.0 * n for n in range(PICTURES)], abs=3)
    stamps = [image.header.stamp.ns for image in images]
    assert stamps == sorted(set(stamps))
    assert (images[0].height, images[0].width, images[0].encoding, images[0].step) == (48, 64, "bgr8", 192)
    film.unlink()
    robot.verify("film", "brightness", tmp_path)


def test_a_slow_reader_loses_none_in_silence(tmp_path: Path, recordings_dir: Path) -> None:
    """Every picture is seen or counted; the recording has all of them."""
    film = made(tmp_path / "large.avi", 640, 480)
    robot = Robot("camera.py", [str(film)], "camera")
    read: list[int] = []

    def look(node: Node) -> None:
        while robot.driver.ended and node.recv("image") is not None:
            read.append(1)

    robot.scheduler.add(Node("slow", tick=look, rate=10, subs=["image"]))
    robot.run(lambda: robot.driver.ended and len(read) > 0, name="slow")
    lost = robot.scheduler.stats().nodes["slow"].lost
    assert lost > 0
    assert len(read) + lost == PICTURES
    assert len(sent("slow", "camera", "image", recordings_dir)) == PICTURES


def test_a_camera_that_is_not_there_yet(film: Path) -> None:
    """The driver tries again, and the other nodes go on meanwhile."""
    away = film.rename(film.with_suffix(".away"))
    robot = Robot("camera.py", [str(film)], "camera")
    robot.run(
        lambda: robot.scheduler.stats().nodes["camera"].errors > 1,
        lambda: bool(away.rename(film)),
        lambda: robot.driver.ended,
    )
    assert robot.driver.count["pictures"] == PICTURES


def test_a_camera_that_gives_no_picture_any_more(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened anew: a camera by its number, which gives the film here, has no end."""
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: opened(str(film)))
    robot = Robot("camera.py", ["0"], "camera")
    robot.run(robot.counted(opened=3, pictures=2 * PICTURES + 1))
    assert robot.scheduler.stats().nodes["camera"].restarts >= 2
