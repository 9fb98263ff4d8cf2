"""The page in a real browser, drawn by WebGL in software: the colours are where masks are, keys do what they say."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series
from playwright import sync_api
from scipy.spatial.transform import Rotation
from volume_files import by_itk

from kseg.console.errors import InputError
from kseg.evaluation.written_scores import scores_by_case, written_scores
from kseg.records.manifest import load_manifest
from kseg.runs.trained_run import open_trained
from kseg.viewer import volume_files
from kseg.viewer.scene import OpenCase, Scene
from kseg.viewer.scene_of_files import scene_of_files
from kseg.viewer.scene_of_run import scene_of_run
from kseg.viewer.server import ViewServer
from kseg.viewer.single_file import worst_cases_of
from kseg.volumes.volume_stream import gather

RUN = "saved_models/study/shared/seed-1"
ORANGE = (230, 159, 0)
"""Of the first structure."""
TURNED = {"nii.gz": (0, 0), "sagittal mha": (0, 90), "oblique nii.gz": (20, 15), "far oblique mha": (135, -45)}
"""Degrees about z and x, by kind of scan."""


@contextmanager
def served(scene: Scene) -> Iterator[str]:
    with ViewServer(lambda: scene) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def shows(page: sync_api.Page, case: str) -> None:
    page.wait_for_function("name => document.body.dataset.shown === name", arg=case)


def colour_at(page: sync_api.Page, mm: tuple[float, ...]) -> tuple[int, ...]:
    """Move the cross, which is hidden, to a point in RAS mm, and return what the axial slice shows there."""
    x, y = page.evaluate(
        """mm => {
            nv.setCrosshairWidth(0);
            moveTo(mm);
            const [left, top, width, height] = nv.screenSlices.find(slice => slice.axCorSag === 0).leftTopWidthHeight;
            const [x, y] = toPlace(mm);
            return [left + width * (1 - x), top + height * (1 - y)]; // right is on the left
        }""",
        list(mm),
    )
    picture = matplotlib.image.imread(io.BytesIO(page.locator("#view").screenshot()), format="png")
    return tuple(round(255 * float(value)) for value in picture[int(y), int(x), :3])


def is_grey(colour: tuple[int, ...]) -> bool:
    return max(colour) - min(colour) <= 3


def written(folder: Path, kind: str) -> tuple[Path, Path]:
    """A scan of 12 x 10 x 9 voxels with a mask whose box of label 7 holds voxel (4, 6, 3) and not (9, 6, 3)."""
    labels = np.zeros((9, 10, 12), np.uint8)
    labels[2:6, 4:9, 2:7] = 7
    if kind == "dicom":
        scan = folder / "series"
        save_series(scan, np.random.default_rng(0).integers(0, 900, (12, 10, 9)).astype(np.int16))
    else:
        image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 90, (9, 10, 12)).astype(np.uint8))
        image.SetSpacing((0.5, 0.8, 1.5))
        image.SetOrigin((-20, 30, 100))
        image.SetDirection(Rotation.from_euler("zx", TURNED[kind], degrees=True).as_matrix().ravel().tolist())
        scan = folder / f"scan.{kind.rsplit(maxsplit=1)[-1]}"
        sitk.WriteImage(image, str(scan))
    mask = sitk.GetImageFromArray(labels)
    mask.CopyInformation(by_itk(scan))
    sitk.WriteImage(mask, str(folder / "mask.nii.gz"))
    return scan, folder / "mask.nii.gz"


@pytest.mark.parametrize("kind", [*TURNED, "dicom"])
def test_the_masks_colour_is_where_the_mask_is(kind: str, tmp_path: Path, page: sync_api.Page) -> None:
    scan, mask = written(tmp_path, kind)
    inside, outside = (
        tuple((np.array(by_itk(mask).TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)).tolist())
        for index in ((4, 6, 3), (9, 6, 3))
    )
    scene = scene_of_files(scan, [mask], {"soleus": [7]})
    with served(scene) as address:
        page.goto(address)
        shows(page, scene.cases[0].name)
        for _ in range(5):
            page.keyboard.press("]")
        assert colour_at(page, inside) == pytest.approx(ORANGE, abs=3)
        assert page.locator("#place").inner_text().endswith(", soleus")
        assert is_grey(colour_at(page, outside))
        assert "soleus" not in page.locator("#place").inner_text()
        page.keyboard.press("m")
        assert is_grey(colour_at(page, inside))
        page.keyboard.press("m")
        assert colour_at(page, inside) == pytest.approx(ORANGE, abs=3)
        page.locator("#legend button").click()
        assert is_grey(colour_at(page, inside))
        page.locator("#legend button").click()
        page.locator("#opacity").focus()
        page.keyboard.press("M")
        assert page.locator("#masks [aria-checked=true]").inner_text() == "no mask"
        page.keyboard.press("m")
        page.wait_for_selector("#measures table")
        page.locator("#measures td button").click()
        assert page.locator("#place").inner_text().endswith(", soleus")
        volume_ml = 5 * 5 * 4 * np.prod(by_itk(mask).GetSpacing()) / 1000
        assert page.locator("#measures td").nth(1).inner_text() == f"{volume_ml:.1f}"


def test_every_voxel_around_the_cross(tmp_path: Path, page: sync_api.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_files, "FIRST_LOOK_VOXELS", 200)
    monkeypatch.setattr(volume_files, "DETAIL_SIDE", 6)
    scan, mask = written(tmp_path, "oblique nii.gz")
    inside = (np.array(by_itk(mask).TransformIndexToPhysicalPoint((4, 6, 3))) * (-1, -1, 1)).tolist()
    with served(scene_of_files(scan, [mask], {})) as address:
        page.goto(address)
        shows(page, "scan")
        assert page.locator("#message").inner_text().startswith("a coarser copy, blocks of ")
        coarse = page.evaluate("() => [...nv.volumes[0].hdr.dims].slice(1, 4)")
        assert np.prod(coarse) <= 200
        page.evaluate("mm => moveTo(mm)", inside)
        place = page.locator("#place").inner_text().split(";")[0]
        page.keyboard.press("f")
        page.wait_for_function("() => nv.volumes[0]?.hdr.dims[1] === 6")
        assert page.evaluate("() => [...nv.volumes[0].hdr.dims].slice(1, 4)") == [6, 6, 6]
        page.wait_for_function("() => !document.getElementById('message').textContent.startsWith('reading')")
        assert page.locator("#place").inner_text().split(";")[0] == place
        page.keyboard.press("f")
        page.wait_for_function("() => (nv.volumes[0]?.hdr.dims[1] ?? 6) !== 6")
        assert page.evaluate("() => [...nv.volumes[0].hdr.dims].slice(1, 4)") == coarse


def test_what_cannot_be_read_leaves_nothing_of_another_case(scene_of_study: Scene, page: sync_api.Page) -> None:
    def lost() -> OpenCase:
        raise InputError("'test-lost.nii.gz' is gone")

    case = replace(scene_of_study.cases[0], dice=0.1)
    cases = [case, replace(case, name="lost", dice=0.2, open=lost)]
    with served(replace(scene_of_study, cases=cases)) as address:
        page.goto(address)
        shows(page, case.name)
        page.wait_for_selector("#measures table")
        page.keyboard.press("n")
        page.wait_for_function("() => document.getElementById('message').classList.contains('wrong')")
        assert page.locator("#message").inner_text() == "'test-lost.nii.gz' is gone"
        assert page.locator("#place").inner_text().strip() == ""
        assert page.locator("#masks button, #legend button, #measures table").count() == 0
        picture = matplotlib.image.imread(io.BytesIO(page.locator("#view").screenshot()), format="png")
        assert picture[: len(picture) // 2, :, :3].mean() < 0.1  # black, but for the message
        page.keyboard.press("p")
        shows(page, case.name)
        assert page.locator("#message").inner_text() == ""


@pytest.fixture
def scene_of_study(finished_study: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.chdir(finished_study)
    trained = open_trained(RUN)
    return scene_of_run(trained, trained.recipe.records_folder, load_manifest(trained.recipe.records_folder), "test")


def test_the_cases_of_a_run_from_the_worst_on(scene_of_study: Scene, page: sync_api.Page) -> None:
    case = replace(scene_of_study.cases[0], expected_dice=0.4)
    worse = replace(case, name="worse", dice=0.01, expected_dice=0.9)
    cases = [replace(case, name="unscored", dice=None, expected_dice=None), case, worse]
    with served(replace(scene_of_study, cases=cases)) as address:
        page.goto(address)
        shows(page, "worse")
        listed = [line.split() for line in page.locator("#list button").all_inner_texts()]
        assert listed == [["worse", "0.010"], [case.name, f"{case.dice:.3f}"], ["unscored"]]
        page.keyboard.press("n")
        shows(page, case.name)
        assert page.locator("#name").inner_text() == case.name
        page.locator("#order").select_option("least trusted first")
        assert [line.split()[0] for line in page.locator("#list button").all_inner_texts()][:2] == [case.name, "worse"]
        page.locator("#order").evaluate("select => select.blur()")
        page.keyboard.press("n")
        shows(page, "worse")
        page.keyboard.press("p")
        shows(page, case.name)
        scores = [row.split() for row in page.locator("#scores tr").all_inner_texts()]
        assert [row[:2] for row in scores[1:]] == [[row[0], row[1]] for row in case.scores[1:]]
        chosen = "#masks [aria-checked=true]"
        assert page.locator(chosen).inner_text() == "prediction"
        page.keyboard.press("t")
        assert page.locator(chosen).inner_text() == "truth"
        page.keyboard.press("x")
        assert page.locator(chosen).inner_text() == "difference"
        counts = page.evaluate("""() => {
            const [prediction, truth] = [...masks.values()].map(mask => mask.img);
            const count = wanted => nv.drawBitmap.reduce((sum, value) => sum + (value === wanted), 0);
            const missed = truth.reduce((sum, value, voxel) => sum + (value > 0 && !prediction[voxel]), 0);
            return [count(1), missed, truth.reduce((sum, value) => sum + (value > 0), 0)];
        }""")
        assert counts[0] == counts[1]
        # What nobody labelled is no error: here as if the first structure were that.
        assert not page.evaluate("""() => {
            scene.structures[0].unlabelled = true;
            const found = difference(), [one, other] = [...masks.values()].map(mask => mask.img);
            scene.structures[0].unlabelled = false;
            return found.some((value, voxel) => value && (one[voxel] === 1 || other[voxel] === 1));
        }""")
        assert counts[2] == (gather(case.open().masks["truth"], "truth").array > 0).sum()


def test_a_page_in_one_file_needs_nothing_else(
    finished_study: Path, scene_of_study: Scene, tmp_path: Path, page: sync_api.Page
) -> None:
    trained = open_trained(RUN)
    with written_scores(trained.folder, "test") as document:
        scores = scores_by_case(document)
    worst = worst_cases_of(trained, load_manifest(trained.recipe.records_folder))
    case = scene_of_study.cases[0]
    worst.see("a </script> leg", case.open(), scores[case.name])
    line = worst.write(tmp_path / "view.html", "worst")
    assert line == f"to look at, or to mail: {tmp_path / 'view.html'} (2.3 MB)"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "view.html").as_uri())
    shows(page, "a </script> leg")
    assert asked == [(tmp_path / "view.html").as_uri()]
    found = page.evaluate(
        "() => [...masks.values()].map(mask => mask.img.reduce((sum, value) => sum + (value > 0), 0))"
    )
    assert found == [int((gather(stream, name).array > 0).sum()) for name, stream in case.open().masks.items()]
    page.wait_for_selector("#measures table")
    assert page.locator("#detail").is_hidden()
