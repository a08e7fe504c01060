#!/usr/bin/env python3
"""Writes twenty seconds of music on hold, made of sine waves, as a WAVE file of 16,000 samples a second.

The tune is a broken chord over four bars that ends as it begins, so that it can be played over and over."""
import math
import struct
import sys
import wave

RATE = 16_000
BAR_S = 2.5
CHORDS = [
    (220.00, 261.63, 329.63, 440.00),
    (174.61, 220.00, 261.63, 349.23),
    (130.81, 196.00, 261.63, 329.63),
    (196.00, 246.94, 293.66, 392.00),
] * 2
NOTES = (0, 1, 2, 3, 2, 1, 2, 3, 2, 1)


def add(out, at, tone, seconds, loud):
    """Adds one plucked note; what goes past the end comes back at the beginning."""
    for n in range(int(seconds * RATE)):
        t = n / RATE
        fade = math.exp(-2.2 * t) * min(1.0, t / 0.01) * min(1.0, (seconds - t) / 0.05)
        value = math.sin(2 * math.pi * tone * t) + 0.3 * math.sin(4 * math.pi * tone * t)
        out[(at + n) % len(out)] += loud * fade * value


def main(path):
    out = [0.0] * int(len(CHORDS) * BAR_S * RATE)
    step = BAR_S / len(NOTES)
    for bar, chord in enumerate(CHORDS):
        start = bar * BAR_S
        add(out, int(start * RATE), chord[0] / 2, BAR_S, 0.35)
        for number, note in enumerate(NOTES):
            add(out, int((start + number * step) * RATE), chord[note] * 2, 1.6, 0.22)
    peak = max(abs(value) for value in out)
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", int(9_000 * value / peak)) for value in out))


if __name__ == "__main__":
    main(sys.argv[1])
