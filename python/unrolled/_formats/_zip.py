"""Zip archives, read with suspicion.

The list of entries is `zipfile`'s; their bytes are read here, so that what was checked is what is
read. Entries are stored or deflated: the other methods make much more of a byte. None lies upon
another, and together they hold no more than so many times the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

from ._keys import printable, shown

LOCAL = struct.Struct("<4s5H3I2H")
ENCRYPTED = 1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Nobody's model has so many files in its archive.
MOST_ENTRIES = 65536
# What `zipfile` raises for a damaged archive.
ERRORS = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    NotImplementedError,
    EOFError,
    OverflowError,
    struct.error,
)


class Archive:
    """An archive, open.

    Parameters
    ----------
    path : Path
    most : int
        Times the file's size that its entries may have together.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._where = f"{str(path)!r}"
        self._file = path.open("rb")
        try:
            self._size = self._file.seek(0, io.SEEK_END)
            self._entries = self._listed()
            self._check(most)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Of the entries."""
        return list(self._entries)

    def size(self, name: str) -> int:
        """Bytes of an entry's content, by the list."""
        return self._entries[name].file_size

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of an entry, of `most` bytes at most.

        Raises
        ------
        ValueError
            If it is not there, too large, or not what the list says.
        """
        info = self._entries.get(name)
        if info is None:
            raise ValueError(
                f"path: expected {shown(name)} in the archive, got none: {self._where}"
            )
        if most is not None and info.file_size > most:
            raise ValueError(
                f"path: {shown(name)}: expected at most {most} bytes, got {info.file_size} in "
                f"{self._where}"
            )
        data = self._raw(info)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            data = self._inflated(info, data)
        # PyTorch can be told to leave the sums out, and writes 0 then.
        if len(data) != info.file_size or (info.CRC and zlib.crc32(data) != info.CRC):
            raise self._damaged(f"{shown(name)} is not what the list of entries says")
        return data

    def _listed(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self._file) as archive:
                found = archive.infolist()
        except ERRORS as error:
            raise self._damaged(error) from None
        if len(found) > MOST_ENTRIES:
            raise ValueError(f"path: expected at most {MOST_ENTRIES} entries, got {len(found)}")
        entries = {info.filename: info for info in found}
        if len(entries) < len(found):
            raise self._damaged("two entries have one name")
        return entries

    def _check(self, most: int) -> None:
        inside = sum(info.file_size for info in self._entries.values())
        if inside > most * self._size:
            raise ValueError(
                f"path: expected an archive of weights, got {inside} bytes in a file of "
                f"{self._size}, {self._where}"
            )
        end = 0
        for info in sorted(self._entries.values(), key=lambda info: info.header_offset):
            if info.compress_type not in METHODS or info.flag_bits & ENCRYPTED:
                raise ValueError(
                    f"path: {shown(info.filename)}: expected it stored or deflated, got another "
                    f"compression or a cipher in {self._where}"
                )
            if info.header_offset < end:
                raise self._damaged("entries lie upon each other")
            end = info.header_offset + LOCAL.size + info.compress_size
            if end > self._size:
                raise self._damaged("entries end behind its end")

    def _raw(self, info: zipfile.ZipInfo) -> bytes:
        """An entry's bytes as they are in the file."""
        self._file.seek(info.header_offset)
        header = self._file.read(LOCAL.size)
        if len(header) < LOCAL.size or header[:4] != b"PK\3\4":
            raise self._damaged(f"{shown(info.filename)} is not where the list of entries says")
        name, extra = LOCAL.unpack(header)[-2:]
        self._file.seek(name + extra, io.SEEK_CUR)
        return self._file.read(info.compress_size)

    def _inflated(self, info: zipfile.ZipInfo, data: bytes) -> bytes:
        try:
            # One byte more than it should be, and no more.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
        except zlib.error as error:
            raise self._damaged(error) from None

    def _damaged(self, what: object) -> ValueError:
        return ValueError(f"path: a damaged zip archive, {self._where}: {printable(what)}")
