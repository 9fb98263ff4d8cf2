"""What a channel's name says of how it was recorded."""

import re


def is_ct(channel: str) -> bool:
    """Whether a channel is named as CT, whose values are Hounsfield units: "CT", "ct_portal"; not "structural"."""
    return _has_word(channel, "ct")


def is_ultrasound(channel: str) -> bool:
    """Whether a channel is named as ultrasound: "US", "ultrasound_envelope"; not "fuse"."""
    return _has_word(channel, "us|ultrasound|sonography")


def says_nothing(channel: str) -> bool:
    """Whether a channel has a name that a file or a folder gave it, such as "image" or "image_2"."""
    return re.fullmatch(r"(image|channel|noname|unknown)?_?\d*", channel.casefold()) is not None


def _has_word(channel: str, words: str) -> bool:
    return re.search(rf"(?<![a-z])({words})(?![a-z])", channel.casefold()) is not None
