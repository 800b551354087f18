"""Groups of commands, which name the command that was meant."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from horus_async.spelling import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Group(click.Group):
    """A group of commands. What is said of wrong usage controls no terminal."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click's."""
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with _printable_usage():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none, name the one that is most like it."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or name in self.list_commands(ctx)):
            meant = nearest(name, self.list_commands(ctx))
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {meant!r}?" if meant else ""))
        return super().resolve_command(ctx, args)


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Click shows these errors itself: with names out of sessions and boxes, or from whoever made the command line."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)
        raise
