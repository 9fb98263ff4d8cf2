"""The peer: MONAI's UNet, trained within a time budget, then applied to the test scans. Runs without kseg.

Usage: python monai_unet.py CASES.csv --out DIR --labels '{"background": 0, "soleus": 100, ...}' [--minutes 30] [...]

CASES.csv is a manifest as kseg.prepare reads it, of NIfTI files with one channel. Its `train` and `val` cases are both
trained on: the last weights are kept, so that no case is needed to choose among them. Its `test` cases are predicted
into DIR, each under its image's name. Prints one JSON object: parameters, steps, minutes until trained, versions.
"""
# ruff: noqa: E402 - the clock starts before PyTorch is imported: that is part of the budget

import time

BEGAN = time.monotonic()

import argparse
import csv
import json
import math
from pathlib import Path

import monai
import nibabel as nib
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureTyped,
    FgBgToIndicesd,
    LoadImaged,
    MapLabelValued,
    NormalizeIntensity,
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    SpatialPadd,
)
from torch.utils.data import RandomSampler

BATCH = 4
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2
BOTH = ("image", "label")
ENDLESS = 2**40


def main():
    options = parse()
    monai.utils.set_determinism(options.seed)
    torch.set_num_threads(options.threads)
    cases = read_cases(options.cases)
    network = build_network(len(options.labels))
    training = [case for case in cases if case["split"] in ("train", "val")]
    transform = Compose([*preparation(list(options.labels.values()), options.patch), *augmentation(options)])
    dataset = CacheDataset(training, transform, num_workers=0, progress=False)
    sampler = RandomSampler(dataset, num_samples=ENDLESS)
    batches = DataLoader(dataset, batch_size=BATCH, sampler=sampler, num_workers=options.workers)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
        steps = train(network, batches, 60 * options.minutes)
    minutes = (time.monotonic() - BEGAN) / 60

    options.out.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if case["split"] == "test":
            predict(network, Path(case["image"]), options)
    report = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "steps": steps,
        "minutes": minutes,
        "versions": {"monai": monai.__version__, "torch": torch.__version__},
    }
    print(json.dumps(report))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="CSV manifest with the columns split, image, label")
    parser.add_argument("--out", type=Path, required=True, help="folder for the label maps")
    parser.add_argument("--labels", type=json.loads, required=True, help="JSON: name -> value, background first")
    parser.add_argument("--minutes", type=float, default=30, help="from the start of this program to the last step")
    parser.add_argument("--patch", type=int, nargs=3, default=(48, 64, 48), help="multiples of 8 (default 48 64 48)")
    parser.add_argument("--flip", type=int, nargs="*", default=(), help="axes flipped at random: 0, 1, 2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default 2)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="bfloat16: autocast")
    parser.add_argument("--workers", type=int, default=0, help="processes that augment (default 0: the trainer itself)")
    return parser.parse_args()


def read_cases(manifest):
    """Rows of a CSV manifest; its paths are relative to it, and its one column of images may be named image_CT."""
    with manifest.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        (images,) = (column for column in rows.fieldnames if column.startswith("image"))
        files = {"image": images, "label": "label"}
        return [row | {key: str(manifest.parent / row[column]) for key, column in files.items()} for row in rows]


def build_network(num_classes):
    """The UNet of the comparison: 1.19 million parameters, MONAI's default norm (instance) and activation (PReLU)."""
    return UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=num_classes,
        channels=(16, 32, 64, 128),
        strides=(2, 2, 2),
        num_res_units=2,
    )


def preparation(values, patch):
    """What is the same each time a case is seen: done once, then kept in memory by CacheDataset."""
    return [
        LoadImaged(BOTH, reader="NibabelReader", ensure_channel_first=True),
        NormalizeIntensityd("image"),
        MapLabelValued("label", values, range(len(values)), dtype=np.int64),
        SpatialPadd(BOTH, patch),
        FgBgToIndicesd("label"),
        EnsureTyped(BOTH, track_meta=False),
    ]


def augmentation(options):
    """A patch at random, half of them on the foreground, then affine, flip, noise and gamma."""
    indices = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"}
    return [
        RandCropByPosNegLabeld(BOTH, "label", options.patch, pos=1, neg=1, num_samples=1, **indices),
        *(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in options.flip),
        RandAffined(BOTH, prob=0.5, rotate_range=(0.26,) * 3, scale_range=(0.15,) * 3, mode=("bilinear", "nearest")),
        RandGaussianNoised("image", prob=0.2, std=0.1),
        RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
    ]


def train(network, batches, seconds):
    """AdamW with half a cosine to 0, for `seconds` since the program began; returns the number of steps."""
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    network.train()
    last, longest = time.monotonic(), 0.0
    for step, batch in enumerate(batches, start=1):
        progress = (time.monotonic() - BEGAN) / seconds
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        optimizer.zero_grad()
        loss_of(network(batch["image"]).float(), batch["label"]).backward()
        optimizer.step()
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        if now + longest - BEGAN > seconds:
            return step
    raise AssertionError("the sampler has no end")


def predict(network, path, options):
    """Label map of a scan in its own grid, from overlapping windows (one, if it is not larger than a patch)."""
    scan = nib.load(path)
    voxels = NormalizeIntensity()(torch.as_tensor(scan.get_fdata(dtype=np.float32))[None, None])
    network.eval()
    with torch.inference_mode():
        logits = sliding_window_inference(voxels, options.patch, BATCH, network, overlap=0.5, mode="gaussian")
    values = np.array(list(options.labels.values()), np.int32)
    nib.save(nib.Nifti1Image(values[logits[0].argmax(0).numpy()], scan.affine), options.out / path.name)


if __name__ == "__main__":
    main()
