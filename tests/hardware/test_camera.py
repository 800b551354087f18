"""``examples/hardware/camera.py``, with OpenCV and a film that the test makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .robots import Robot, sent

if TYPE_CHECKING:
    from pathlib import Path

cv2: Any = pytest.importorskip("cv2")
np: Any = pytest.importorskip("numpy")

PICTURES = 12


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Grey pictures that become brighter."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50.0, (64, 48))
    assert writer.isOpened()
    for number in range(PICTURES):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


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


def test_every_picture_is_seen_or_counted_as_lost(film: Path, recordings_dir: Path) -> None:
    """By the node that looks at them."""
    robot = Robot("camera.py", [str(film)], "camera")
    robot.run(lambda: robot.driver.ended, name="seen")
    seen = sent("seen", "brightness", "brightness", recordings_dir)
    assert len(seen) + seen[-1]["lost"] <= PICTURES
    assert seen[-1]["lost"] == robot.scheduler.stats().nodes["brightness"].lost


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
