"""Images, point clouds, and what was detected in them."""

from __future__ import annotations

from enum import IntEnum

from attrs import define, field

from .base import ByContent, Data, Header
from .geometry import PoseWithCovariance


@define(eq=False)
class Image(ByContent):
    """An uncompressed image, in the optical frame of the camera: x right, y down, z into the picture.

    Layout: sensor_msgs/msg/Image; foxglove.RawImage.

    Attributes:
        height: rows of pixels.
        width: columns of pixels.
        encoding: of the pixels: ``rgb8``, ``bgr8``, ``rgba8``, ``mono8``, ``mono16``, ``32FC1``, ``bayer_rggb8``, …
        is_bigendian: byte order of pixel values of more than one byte, 0 or 1.
        step: bytes per row.
        data: the rows, from the top, ``step * height`` bytes; an array may have the shape of the image.
    """

    header: Header = field(factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = ""
    is_bigendian: int = 0
    step: int = 0
    data: Data = b""


@define(eq=False)
class CompressedImage(ByContent):
    """A compressed image.

    Layout: sensor_msgs/msg/CompressedImage; foxglove.CompressedImage.

    Attributes:
        format: ``jpeg``, ``png``, ``webp``, …
        data: the content of a file of that format.
    """

    header: Header = field(factory=Header)
    format: str = ""
    data: Data = b""


class PointDatatype(IntEnum):
    """The type of a number in a point; values as in sensor_msgs/msg/PointField."""

    INT8 = 1
    UINT8 = 2
    INT16 = 3
    UINT16 = 4
    INT32 = 5
    UINT32 = 6
    FLOAT32 = 7
    FLOAT64 = 8


@define(eq=False)
class PointField(ByContent):
    """One channel of the points of a cloud.

    Layout: sensor_msgs/msg/PointField; foxglove.PackedElementField.

    Attributes:
        name: ``x``, ``y``, ``z`` (metres), ``intensity``, ``rgb``, …
        offset: bytes from the start of a point.
        datatype: type of its numbers.
        count: how many numbers.
    """

    name: str = ""
    offset: int = 0
    datatype: PointDatatype = PointDatatype.FLOAT32
    count: int = 1


@define(eq=False)
class PointCloud(ByContent):
    """Points in space, each a row of bytes described by ``fields``.

    Layout: sensor_msgs/msg/PointCloud2; foxglove.PointCloud.

    Attributes:
        height: rows of an organised cloud, such as a depth camera's; 1 for an unorganised one.
        width: points per row.
        fields: what the bytes of a point mean.
        is_bigendian: byte order of the numbers.
        point_step: bytes per point.
        row_step: bytes per row.
        data: ``row_step * height`` bytes, or a structured array of the points.
        is_dense: no point is invalid (NaN).
    """

    header: Header = field(factory=Header)
    height: int = 0
    width: int = 0
    fields: list[PointField] = field(factory=list)
    is_bigendian: bool = False
    point_step: int = 0
    row_step: int = 0
    data: Data = b""
    is_dense: bool = False


@define(eq=False)
class Point2D(ByContent):
    """A position in an image, in pixels from its upper left corner: x right, y down.

    Layout: vision_msgs/msg/Point2D; foxglove.Point2.
    """

    x: float = 0.0
    y: float = 0.0


@define(eq=False)
class ImagePose2D(ByContent):
    """A position and a rotation in an image.

    Layout: vision_msgs/msg/Pose2D.

    Attributes:
        position: pixels.
        theta: radians.
    """

    position: Point2D = field(factory=Point2D)
    theta: float = 0.0


@define(eq=False)
class BoundingBox2D(ByContent):
    """A rectangle in an image, possibly rotated.

    Layout: vision_msgs/msg/BoundingBox2D.

    Attributes:
        center: of the rectangle.
        size_x: its width before the rotation, pixels.
        size_y: its height before the rotation, pixels.
    """

    center: ImagePose2D = field(factory=ImagePose2D)
    size_x: float = 0.0
    size_y: float = 0.0


@define(eq=False)
class ObjectHypothesis(ByContent):
    """What an object may be.

    Layout: vision_msgs/msg/ObjectHypothesis.

    Attributes:
        class_id: the name or number of the class.
        score: confidence, 0 to 1.
    """

    class_id: str = ""
    score: float = 0.0


@define(eq=False)
class ObjectHypothesisWithPose(ByContent):
    """What an object may be, and where it would be.

    Layout: vision_msgs/msg/ObjectHypothesisWithPose.
    """

    hypothesis: ObjectHypothesis = field(factory=ObjectHypothesis)
    pose: PoseWithCovariance = field(factory=PoseWithCovariance)


@define(eq=False)
class Detection2D(ByContent):
    """An object found in an image.

    Layout: vision_msgs/msg/Detection2D.

    Attributes:
        header: that of the image.
        results: what it may be.
        bbox: where it is in the image.
        id: the same for the same object in several images, or empty.
    """

    header: Header = field(factory=Header)
    results: list[ObjectHypothesisWithPose] = field(factory=list)
    bbox: BoundingBox2D = field(factory=BoundingBox2D)
    id: str = ""
