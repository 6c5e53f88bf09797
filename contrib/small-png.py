#!/usr/bin/env python3
"""Makes pictures of pages small: small-png.py FILE.png... writes each again with at most 256 colours and the best compression.

Reads what Chromium writes: 8 bits a channel, RGB or RGBA, not interlaced. Needs no library."""

import struct
import sys
import zlib
from collections import Counter


def chunks(data):
    at = 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def pixels(path):
    """Width, and the rows as lists of (red, green, blue)."""
    with open(path, "rb") as file:
        parts = list(chunks(file.read()))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or kind not in (2, 6) or interlaced:
        sys.exit(f"{path}: not a picture of Chromium (8 bits, RGB or RGBA)")
    size = 3 if kind == 2 else 4
    raw = zlib.decompress(b"".join(data for name, data in parts if name == b"IDAT"))
    before, rows = bytearray(width * size), []
    for y in range(height):
        start = y * (width * size + 1)
        method, line = raw[start], bytearray(raw[start + 1 : start + 1 + width * size])
        for x in range(len(line)):
            left = line[x - size] if x >= size else 0
            above, corner = before[x], before[x - size] if x >= size else 0
            if method == 1:
                line[x] = (line[x] + left) & 255
            elif method == 2:
                line[x] = (line[x] + above) & 255
            elif method == 3:
                line[x] = (line[x] + (left + above) // 2) & 255
            elif method == 4:
                guess = left + above - corner
                nearest = min((abs(guess - one), at, one) for at, one in enumerate((left, above, corner)))
                line[x] = (line[x] + nearest[2]) & 255
        rows.append([tuple(line[x : x + 3]) for x in range(0, len(line), size)])
        before = line
    return width, rows


def palette(rows):
    """Of each colour, the number of the one that is shown: the most frequent ones stay as they are."""
    counts = Counter(colour for row in rows for colour in row)
    kept = [colour for colour, _ in counts.most_common(256)]
    number = {colour: at for at, colour in enumerate(kept)}
    for colour in counts:
        if colour not in number:
            number[colour] = min(range(len(kept)), key=lambda at: sum((a - b) ** 2 for a, b in zip(colour, kept[at])))
    return kept, number


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


for path in sys.argv[1:]:
    width, rows = pixels(path)
    kept, number = palette(rows)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(number[colour] for colour in row) for row in rows), 9)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"PLTE", bytes(sum(kept, ()))))
        file.write(chunk(b"IDAT", body) + chunk(b"IEND", b""))
