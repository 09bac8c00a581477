"""What a program for a Cortex-M is made of, by its ELF file: functions, and who calls whom."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

FUNCTION = 2


@dataclass
class Function:
    """A function: its symbol, its bytes, and the symbols it calls or jumps to."""

    name: str
    size: int
    calls: set[str] = field(default_factory=set)


def functions(path: Path) -> dict[str, Function]:
    """Every function of a little-endian ELF file of 32 bits."""
    elf = path.read_bytes()
    offset, entry, count = struct.unpack_from("<I10xHH", elf, 32)
    sections = [struct.unpack_from("<10I", elf, offset + i * entry) for i in range(count)]
    symbols = []
    for section in sections:
        if section[1] == 2:  # the symbols' table
            text = sections[section[6]][4]
            for at in range(section[4], section[4] + section[5], 16):
                name, value, size, info, _, index = struct.unpack_from("<IIIBBH", elf, at)
                end = elf.index(b"\0", text + name)
                symbols.append((elf[text + name : end].decode(), value, size, info & 15, index))
    at_address = {v & ~1: name for name, v, _, kind, _ in symbols if kind == FUNCTION}
    # $t begins code, $d data within it.
    marks = sorted((v, name[1]) for name, v, *_ in symbols if name.startswith(("$t", "$d")))
    found = {}
    for name, value, size, kind, index in symbols:
        if kind == FUNCTION and 0 < index < count and size:
            start = value & ~1
            section = sections[index]
            code = elf[section[4] + start - section[3] :][:size]
            data = _data(marks, start, start + size)
            calls = {at_address[t] for t in _targets(code, start, data) if t in at_address}
            found[name] = Function(name, size, calls - {name})
    return found


def reached(all_of_it: dict[str, Function], roots: list[str]) -> set[str]:
    """What the roots call, directly or not, and themselves."""
    seen, left = set[str](), list(roots)
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += all_of_it[name].calls if name in all_of_it else ()
    return seen


def _data(marks: list[tuple[int, str]], start: int, end: int) -> list[tuple[int, int]]:
    """Where within a function constants stand."""
    inside = [(address, kind) for address, kind in marks if start <= address < end]
    ends = [address for address, _ in inside[1:]] + [end]
    return [(a, e) for (a, kind), e in zip(inside, ends, strict=True) if kind == "d"]


def _targets(code: bytes, start: int, data: list[tuple[int, int]]) -> set[int]:
    """Where BL and B.W of a function go."""
    targets, at = set(), 0
    while at + 4 <= len(code):
        if skip := next((e for a, e in data if a <= start + at < e), None):
            at = skip - start
            continue
        one, two = struct.unpack_from("<HH", code, at)
        if one >> 11 not in (0b11101, 0b11110, 0b11111):
            at += 2
            continue
        # 11110 S imm10, 1 L J1 1 J2 imm11: T1 of BL, T4 of B.
        if one >> 11 == 0b11110 and two & 0x9000 == 0x9000:
            sign = one >> 10 & 1
            i1, i2 = (~(two >> 13 ^ sign)) & 1, (~(two >> 11 ^ sign)) & 1
            far = (-sign << 24) | i1 << 23 | i2 << 22 | (one & 0x3FF) << 12 | (two & 0x7FF) << 1
            targets.add(start + at + 4 + far)
        at += 4
    return targets
