"""What sessions keep of the files they were imported from, kept by what is made of them, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from horus_async.errors import RecordingError
from horus_async.limits.open_files import why
from horus_async.recorder.origin import Origin, attachment_path, read_origin, write_attachment, write_origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from horus_async.recorder.origin import Attachment
    from horus_async.recorder.read.session import Session


def keep_origins(
    folder: Path, sessions: Sequence[Session], names: Sequence[Mapping[str, str]] | None = None
) -> list[str]:
    """Write the index and the attachments of several sessions into the folder of a new one, each thing once.

    Args:
        folder: The new one's.
        sessions: What it is made of.
        names: The new name of each node, by session; None where they stay.

    Returns:
        What cannot be read, one line each.

    Raises:
        OSError: It cannot be written.
    """
    notes: list[str] = []
    whole: Origin | None = None
    for number, session in enumerate(sessions):
        try:
            origin = read_origin(session.path)
        except RecordingError as error:
            notes.append(str(error))
            continue
        if origin is None:
            continue
        whole = whole or Origin()
        renamed = {} if names is None else names[number]
        if origin.file not in whole.file.split(", "):
            whole.file = ", ".join(filter(None, (whole.file, origin.file)))
        whole.topics = {**origin.topics, **whole.topics}
        whole.nodes = {**{renamed.get(node, node): name for node, name in origin.nodes.items()}, **whole.nodes}
        whole.metadata += [record for record in origin.metadata if record not in whole.metadata]
        for attachment in origin.attachments:
            notes += _keep(folder, session, attachment, whole)
    if whole is not None:
        write_origin(folder, whole)
    return notes


def _keep(folder: Path, session: Session, attachment: Attachment, whole: Origin) -> list[str]:
    if any(evolve(other, file=attachment.file) == attachment for other in whole.attachments):
        return []
    path = attachment_path(session.path, attachment)
    try:
        data = path.read_bytes()
    except OSError as error:
        return [f"{path} cannot be read: {why(error)}"]
    file = write_attachment(folder, {other.file for other in whole.attachments}, attachment.name, data)
    whole.attachments.append(evolve(attachment, file=file))
    return []
