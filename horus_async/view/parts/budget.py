"""How much of a session goes in a page. What does not fit is thinned, and the page says where."""

from __future__ import annotations

from attrs import frozen


@frozen
class Budget:
    """Limits of one source: a page has one or two. The defaults make pages of a few megabytes."""

    detail_bytes: int = 1_100_000
    """Of messages and calls that are there one by one."""
    value_bytes: int = 4_000
    """Of one message; longer lists and texts in it are shortened until it fits."""
    series_points: int = 60_000
    """Of all plots together."""
    field_points: int = 4_000
    """Of one plot."""
    fields: int = 400
    """Plots; further fields are counted."""
    lane_buckets: int = 1_200
    events: int = 1_500
    log_lines: int = 2_000
    samples: int = 40
    """Messages of a topic that are there in any case, spread over the time."""
    image_bytes: int = 1_000_000
    images: int = 40
    """Of one topic."""
    image_side: int = 320
    """Pixels; larger ones are made smaller."""

    def half(self) -> Budget:
        """For each of two sources."""
        return Budget(
            detail_bytes=self.detail_bytes // 2,
            series_points=self.series_points // 2,
            events=self.events // 2,
            log_lines=self.log_lines // 2,
            image_bytes=self.image_bytes // 2,
            images=self.images // 2,
        )
