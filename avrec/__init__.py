"""avrec: an end-to-end training framework for audio-video recommendation."""

__version__ = "0.1.0"
