"""What the header of a ring lists: its publishers, and the schemas of the classes of its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from .entries import as_entries
from .layout import ENTRY_CRC, FIRST_DATA_AT, NAME_LENGTH, PUBLISHERS_AT, SCHEMA_SIZE, Word
from .region import SCHEMA_AT, SCHEMA_LENGTH

if TYPE_CHECKING:
    from .region import Region


class Tables(NamedTuple):
    """The contents of both tables."""

    publishers: tuple[bytes, ...] = ()
    """Names in UTF-8, by number."""
    schemas: tuple[bytes, ...] = ()

    def with_publisher(self, name: bytes) -> Self:
        """These, and one more publisher."""
        return self._replace(publishers=(*self.publishers, name))

    def with_schema(self, text: bytes) -> Self:
        """These, and one more schema."""
        return self._replace(schemas=(*self.schemas, text))

    @property
    def schema_bytes(self) -> int:
        """Size of the schema table."""
        return sum(SCHEMA_SIZE.size + len(text) + ENTRY_CRC.size for text in self.schemas)

    @property
    def data_at(self) -> int:
        """Where the data of a generation with these tables begins."""
        names = sum(NAME_LENGTH.size + len(name) + ENTRY_CRC.size for name in self.publishers)
        end = PUBLISHERS_AT + names + self.schema_bytes
        data_at = FIRST_DATA_AT
        while data_at < end:
            data_at *= 2
        return data_at

    def write(self, region: Region) -> bool:
        """Write them into a header; returns whether there was room. If not, nothing was changed."""
        names = as_entries(NAME_LENGTH, self.publishers)
        schemas = as_entries(SCHEMA_SIZE, self.schemas)
        words, end = region.words, PUBLISHERS_AT + len(names)
        begin = words[SCHEMA_AT]
        if schemas and not begin:  # the first schema: both tables get the same room to grow
            begin = (end + region.data_at - len(schemas)) // 2
        if end > (begin or region.data_at) or begin + len(schemas) > region.data_at:
            return False
        region.map[PUBLISHERS_AT:end] = names
        words[Word.PUBLISHERS] = len(self.publishers)
        if schemas:
            region.map[begin : begin + len(schemas)] = schemas
            words[SCHEMA_AT] = begin
            words[SCHEMA_LENGTH] = len(schemas)
        return True
