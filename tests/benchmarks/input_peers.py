"""MONAI's and TorchIO's patches, each with two workers, in a process that draws them when told to.

Usage: python input_peers.py '{"side": "monai", "folder": ..., "patch": [96, 96, 96], "seconds": 10}'

- monai: CacheDataset, RandCropByPosNegLabeld, DataLoader. 4 patches from a volume at a time, half of them foreground.
- monai-indices: the same, with the voxels' indices cached too (FgBgToIndicesd), which its users can ask for.
- torchio: Queue of 16 patches, LabelSampler with half of them on the label, 4 from a volume at a time.
"""

import json
import sys
from pathlib import Path

from drawing import serve

WORKERS = 2


def monai(folder, patch, cache_indices):
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        FgBgToIndicesd,
        LoadImaged,
        NormalizeIntensityd,
        RandCropByPosNegLabeld,
    )
    from torch.utils.data import RandomSampler

    keys = ["image", "label"]
    indices = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"} if cache_indices else {}
    crop = RandCropByPosNegLabeld(keys, "label", patch, pos=1, neg=1, num_samples=4, **indices)
    load = [LoadImaged(keys), EnsureChannelFirstd(keys), NormalizeIntensityd("image")]
    cached = [FgBgToIndicesd("label")] if cache_indices else []
    files = [
        {"image": str(path), "label": str(path.with_name(path.name.replace("image", "label")))}
        for path in sorted(folder.glob("image*.nii"))
    ]
    dataset = CacheDataset(files, Compose([*load, *cached, crop]), progress=False)
    sampler = RandomSampler(dataset, replacement=True, num_samples=10**6)
    loader = DataLoader(dataset, batch_size=1, sampler=sampler, num_workers=WORKERS)
    return (len(batch["image"]) for batch in loader)


def torchio(folder, patch):
    import torchio as tio
    from torch.utils.data import DataLoader

    subjects = [
        tio.Subject(
            image=tio.ScalarImage(path),
            label=tio.LabelMap(path.with_name(path.name.replace("image", "label"))),
        )
        for path in sorted(folder.glob("image*.nii"))
    ]
    dataset = tio.SubjectsDataset(subjects * 1000, transform=tio.ZNormalization())
    sampler = tio.LabelSampler(patch, label_name="label", label_probabilities={0: 1, 1: 1})
    queue = tio.Queue(dataset, max_length=16, samples_per_volume=4, sampler=sampler, num_workers=WORKERS)
    loader = DataLoader(queue, batch_size=2, num_workers=0, collate_fn=len)
    return iter(loader)


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    folder, patch = Path(options["folder"]), tuple(options["patch"])
    side = options["side"]
    serve(torchio(folder, patch) if side == "torchio" else monai(folder, patch, "indices" in side), options["seconds"])
