"""MONAI's UNet or nnU-Net on one scan, with random weights. Runs without kseg.

Usage: python predict_peers.py '{"side": "monai" or "nnunet", "scan": ..., "out": ..., "progress": ..., "patch": [...],
                                 "classes": 4, "threads": 2, "model": ...}'

Each window that is done adds a byte to the file `progress`; where they are not those of the whole scan, `progress`-of
says how many there will be. `model` is the folder of nnU-Net's model, which the side
"nnunet-plan" makes: nnU-Net's own planner configures 3d_fullres for a dataset whose scans have the size of a patch.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

CONFIGURATION, CHECKPOINT, TRAINER = "3d_fullres", "checkpoint_final.pth", "nnUNetTrainer"


def main():
    options = SimpleNamespace(**json.loads(sys.argv[1]))
    torch.manual_seed(1)
    torch.set_num_threads(options.threads)
    {"monai": predict_with_monai, "nnunet": predict_with_nnunet, "nnunet-plan": plan_nnunet}[options.side](options)


def counting(network, progress):
    """Have a network add a byte to a file for each window that it has done."""
    done = os.open(progress, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def count(module, inputs, output):
        os.write(done, bytes(len(inputs[0])))

    network.register_forward_hook(count)
    return network


def predict_with_monai(options):
    from monai_unet import build_network, predict

    labels = {str(number): number for number in range(options.classes)}
    network = counting(build_network(options.classes), options.progress)
    predict(network, Path(options.scan), SimpleNamespace(patch=options.patch, labels=labels, out=Path(options.out)))


def predict_with_nnunet(options):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(options.model, (0,), CHECKPOINT)
    counting(predictor.network, options.progress)
    windows_of = predictor._internal_get_sliding_window_slicers

    def told(shape):  # of what is left once it has cropped a scan to what is not 0
        windows = windows_of(shape)
        Path(f"{options.progress}-of").write_text(str(len(windows)))
        return windows

    predictor._internal_get_sliding_window_slicers = told
    name = Path(options.scan).name.removesuffix(".nii")
    predictor.predict_from_files_sequential([[options.scan]], [str(Path(options.out) / name)])


def plan_nnunet(options):
    """Write a model as nnU-Net's training leaves it: its plans for scans of the size of a patch, random weights."""
    import nibabel as nib

    model, patch = Path(options.model), options.patch[::-1]  # nnU-Net has axes in the order z, y, x
    name = "Dataset001_Leg"
    raw, preprocessed = model / "raw" / name, model / "preprocessed" / name
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed, model / "fold_0"):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_raw": str(model / "raw"), "nnUNet_preprocessed": str(model / "preprocessed")}
    for link in (raw / "imagesTr" / "leg_0000.nii", raw / "labelsTr" / "leg.nii"):
        link.unlink(missing_ok=True)
        link.symlink_to(options.scan)
    spacing = [float(length) for length in nib.load(options.scan).header.get_zooms()][::-1]
    labels = {"background": 0, **{f"muscle {number}": number for number in range(1, options.classes)}}
    dataset = {"channel_names": {"0": "US"}, "labels": labels, "numTraining": 1, "file_ending": ".nii"}
    grey = {"mean": 80, "std": 50, "min": 0, "percentile_00_5": 0, "median": 70, "percentile_99_5": 250, "max": 255}
    fingerprint = {
        "spacings": [spacing],
        "shapes_after_crop": [patch],
        "foreground_intensity_properties_per_channel": {"0": grey},
        "median_relative_size_after_cropping": 1.0,
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))

    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    ExperimentPlanner(name).plan_experiment()
    plans = preprocessed / "nnUNetPlans.json"
    planned = json.loads(plans.read_text())["configurations"][CONFIGURATION]
    if planned["patch_size"] != patch:
        sys.exit(f"nnU-Net plans patches of {planned['patch_size'][::-1]} for {options.patch}: choose others")
    network = get_network_from_plans(
        planned["architecture"]["network_class_name"],
        planned["architecture"]["arch_kwargs"],
        planned["architecture"]["_kw_requires_import"],
        1,
        options.classes,
        deep_supervision=False,
    )
    (model / "plans.json").write_bytes(plans.read_bytes())
    (model / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {"trainer_name": TRAINER, "init_args": {"configuration": CONFIGURATION}}
    torch.save(checkpoint | {"network_weights": network.state_dict()}, model / "fold_0" / CHECKPOINT)


if __name__ == "__main__":
    main()
