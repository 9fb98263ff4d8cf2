"""Images and label maps of a folder without a list, put together by their names."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from unicodedata import normalize

LABEL_WORDS = frozenset(
    (
        "annotation",
        "annotations",
        "ground",
        "gt",
        "label",
        "labels",
        "labelmap",
        "labelmaps",
        "manual",
        "mask",
        "masks",
        "roi",
        "rois",
        "seg",
        "segs",
        "segmentation",
        "segmentations",
        "truth",
        "maske",
        "masken",
        "masque",
        "masques",
    )
)
"""A file with one of these in its name, or in that of a folder above it, is a label map."""
IMAGE_WORDS = frozenset(
    (
        "dcm",
        "dicom",
        "image",
        "images",
        "img",
        "imgs",
        "scan",
        "scans",
        "vol",
        "vols",
        "volume",
        "volumes",
    )
)
"""Words that tell nothing of which case a file is of."""
KNOWN_WORDS = LABEL_WORDS | IMAGE_WORDS
ENDINGS = frozenset(("tr", "ts"))
"""What nnU-Net and the Decathlon write after these words: imagesTr."""
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
NUMBERED = re.compile(r"_\d{4}$")
"""A channel's number, as nnU-Net writes it."""
TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")

Key = tuple[str, ...]


@dataclass(frozen=True)
class FoundCase:
    """A case: its images by channel (one named "image", or several), its label map, and what its folders say."""

    case: str
    subject: str
    split: str
    images: Mapping[str, PurePath]
    label: PurePath


@dataclass(frozen=True)
class Pairing:
    """The cases that were found, and each file that is in none, with the reason."""

    cases: tuple[FoundCase, ...]
    left: Mapping[PurePath, str]


@dataclass(frozen=True)
class _File:
    path: PurePath
    stem: str
    folders: tuple[str, ...]
    is_label: bool
    key: Key


def pair(volumes: Mapping[PurePath, str]) -> Pairing:
    """Put the images and label maps of a folder together.

    A file whose name, or folder, has a word such as "mask" is a label map. What is left of the path without such words
    says which case it is of: `3/x1.mha` and `3/masksX1.mha`, `images/leg01.nii` and `labels/leg01.nii`. Files of one
    case that end otherwise, all cases alike, are its channels: `leg01_0000.nii`, `leg01_0001.nii`. The first folder
    whose name is none of these words is the subject's. What is doubtful is left.

    Args:
        volumes: path of each volume below the folder, and its name without the file type.
    """
    files = _files(volumes)
    images, labels = ([file for file in files if file.is_label == kind] for kind in (False, True))
    images_of, left = _matches(images, labels)
    remainders = {file.path: _remainders(found, file.key) for file, found in images_of.items()}
    for label, found in list(images_of.items()):
        if len(set(remainders[label.path])) < len(found):  # whose names differ by their file type, say
            left |= _too_many(found, label)
            del images_of[label]
    channels = _usual([tuple(sorted(remainders[label.path])) for label in images_of])
    shared = _shared_by_kind(images, labels)
    cases = []
    for label, found in images_of.items():
        endings = remainders[label.path]
        if tuple(sorted(endings)) != channels:
            reason = f"has the channels {', '.join(sorted(endings))}, not those of most cases"
            left |= dict.fromkeys((label.path, *(file.path for file in found)), reason)
            continue
        names = [f"image_{ending}" if len(channels) > 1 else "image" for ending in endings]
        by_channel = dict(sorted(zip(names, (file.path for file in found), strict=True)))
        cases.append(_case(found[0], label, by_channel, shared))
    return Pairing(tuple(_named_apart(cases)), left)


def named_as_labels(volumes: Mapping[PurePath, str]) -> set[PurePath]:
    """Return which volumes of a folder are label maps by their names; `volumes` as in `pair`."""
    return {file.path for file in _files(volumes) if file.is_label}


def _files(volumes: Mapping[PurePath, str]) -> list[_File]:
    shared = _shared_folders([path.parts[:-1] for path in volumes])
    files = []
    for path, stem in volumes.items():
        folders = path.parts[shared:-1]
        words = [_words(name) for name in (*folders, stem)]
        is_label = any(LABEL_WORDS.intersection(found) for found in words)
        key = tuple(word for found in words for word in _telling(found))
        files.append(_File(path, stem, folders, is_label, key))
    return files


def _shared_folders(parents: Sequence[tuple[str, ...]]) -> int:
    """How many folders all files begin with, given those of each: they tell no case from another."""
    count = 0
    while parents and all(len(parts) > count for parts in parents) and len({parts[count] for parts in parents}) == 1:
        count += 1
    return count


def _shared_by_kind(images: Sequence[_File], labels: Sequence[_File]) -> int:
    """How many folders all images begin with that have one of label maps beside them: US and US_masks, no subject."""
    of_labels = {
        _telling(_words(name)) for label in labels for name in label.folders if LABEL_WORDS.intersection(_words(name))
    }
    first = images[0].folders[: _shared_folders([image.folders for image in images])] if images else ()
    return next((count for count, name in enumerate(first) if _telling(_words(name)) not in of_labels), len(first))


def _words(name: str) -> Key:
    return tuple(word.casefold() for word in TOKEN.findall(name))


def _telling(words: Key) -> Key:
    """Words that say which case a file is of."""
    kept: list[str] = []
    before = ""
    for word in words:
        if word not in KNOWN_WORDS and not (word in ENDINGS and before in KNOWN_WORDS):
            kept.append(word)
        before = word
    return tuple(kept)


def _matches(images: Sequence[_File], labels: Sequence[_File]) -> tuple[dict[_File, list[_File]], dict[PurePath, str]]:
    """Return the images of each label map that has some, and what is left, with the reason."""
    by_key: dict[Key, list[_File]] = defaultdict(list)
    for label in labels:
        by_key[label.key].append(label)
    left = {
        label.path: f"is one of {len(same)} label maps of a case: merge them, or leave one"
        for same in by_key.values()
        if len(same) > 1
        for label in same
    }
    images_of: dict[_File, list[_File]] = defaultdict(list)
    for image in images:
        same = by_key.get(image.key) or next(filter(None, map(by_key.get, _beginnings(image.key))), [])
        if len(same) == 1:
            images_of[same[0]].append(image)
        else:
            left[image.path] = "has several label maps" if same else "has no label map"
    for label, found in list(images_of.items()):
        exact = [image for image in found if image.key == label.key]
        if exact:  # what merely begins alike is of other cases
            left |= {image.path: "has no label map" for image in found if image not in exact}
            images_of[label] = exact
        if len(exact) > 1 or (
            len(found) > 1 and len(images_of) == 1 and not all(NUMBERED.search(image.stem) for image in found)
        ):
            left |= _too_many(found, label)
            del images_of[label]
    _match_longer_labels(images, labels, images_of, left)
    left |= {label.path: "has no image" for label in labels if label not in images_of and label.path not in left}
    return dict(images_of), left


def _too_many(images: Sequence[_File], label: _File) -> dict[PurePath, str]:
    """The reasons why images and their label map are left."""
    reason = f"is one of {len(images)} images with one label map"
    return {**{image.path: reason for image in images}, label.path: f"has {len(images)} images"}


def _match_longer_labels(
    images: Sequence[_File],
    labels: Sequence[_File],
    images_of: dict[_File, list[_File]],
    left: dict[PurePath, str],
) -> None:
    """Match label maps whose names all go on alike where those of their images end: `a1.nii`, `a1_final_mask.nii`."""
    without = [image for image in images if left.get(image.path) == "has no label map"]
    often = Counter(image.key for image in without)
    alone = {image.key: image for image in without if often[image.key] == 1}
    longer = []
    for label in labels:
        if label not in images_of and label.path not in left:
            longer += [(label, alone[key], label.key[len(key) :]) for key in _beginnings(label.key) if key in alone][:1]
    if len({image for _, image, _ in longer}) == len(longer) and len({ending for *_, ending in longer}) == 1:
        for label, image, _ in longer:
            images_of[label] = [image]
            del left[image.path]


def _beginnings(key: Key) -> list[Key]:
    """Shorter keys with which one begins, the longest first; none that says nothing."""
    return [key[:length] for length in range(len(key) - 1, 0, -1)]


def _remainders(images: Sequence[_File], key: Key) -> list[str]:
    return ["".join(image.key[len(key) :]) for image in images]  # nothing where the label map's name is the longer


def _usual(channels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return max(set(channels), key=lambda found: (channels.count(found), found), default=("",))


def _case(image: _File, label: _File, images: Mapping[str, PurePath], shared: int) -> FoundCase:
    """Return a case; the first `shared` folders are those of all images, and of no subject."""
    folders = [name for name in image.folders[shared:] if _telling(_words(name))]
    split = ""
    if folders and (word := "".join(_telling(_words(folders[0])))) in SPLIT_WORDS:
        split = SPLIT_WORDS[word]
        del folders[0]
    stem = _stem(label if len(image.key) > len(label.key) else image)
    told = [name for name in folders if _words(stem)[: len(_words(name))] != _words(name)]
    name = _fit("_".join(filter(None, [*told, stem])) or image.stem)
    return FoundCase(name, _fit(folders[0]) if folders else name, split, images, label.path)


def _fit(text: str) -> str:
    """A name of letters, of any alphabet, and digits: two people stay two."""
    return re.sub(r"[^\w.-]+", "_", normalize("NFC", text)).strip("._-") or "case"


def _stem(file: _File) -> str:
    """A file's name without words that tell nothing, at its beginning or end."""
    pieces = re.split(r"([^0-9A-Za-z\u0080-\uffff]+)", file.stem)
    while pieces and not _telling(_words(pieces[0])):
        pieces = pieces[2:]
    while pieces and not _telling(_words(pieces[-1])):
        pieces = pieces[:-2]
    return "".join(pieces)


def _named_apart(cases: Sequence[FoundCase]) -> list[FoundCase]:
    """Give cases of one name, such as 'a b' and 'a_b' fitted, numbers."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for case in cases:
        seen[case.case.casefold()] += 1
        count = seen[case.case.casefold()]
        name = f"{case.case}-{count}" if count > 1 else case.case
        subject = name if case.subject == case.case else case.subject
        named.append(replace(case, case=name, subject=subject))
    return named
