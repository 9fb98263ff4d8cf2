"""The server of the page: what it gives, and to whom; every answer comes over a real connection."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from volume_files import by_itk, make_image

from kseg.console.errors import InputError
from kseg.viewer import volume_files
from kseg.viewer.scene import Scene
from kseg.viewer.scene_of_files import scene_of_files
from kseg.viewer.server import ViewServer

Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Answer]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """An oblique scan in MetaImage, and a mask in NIfTI with two structures."""
    scan = make_image("oblique", size=(12, 10, 9))
    array = np.zeros((9, 10, 12), np.uint8)
    array[2:5, 3:6, 4:9] = 100
    array[6:, 3:6, 4:9] = 7
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(scan)
    paths = [tmp_path / "leg.mha", tmp_path / "mask.nii.gz"]
    for image, path in zip((scan, mask), paths, strict=True):
        sitk.WriteImage(image, str(path))
    return paths


@pytest.fixture
def server(files: list[Path]) -> Iterator[ViewServer]:
    with ViewServer(lambda: scene_of_files(files[0], files[1:], {"soleus": [100]})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(server: ViewServer) -> Ask:
    def asked(path: str, method: str = "GET", raw: bool = False, **headers: str) -> Answer:
        host, port = "127.0.0.1", server.server_address[1]
        connection = http.client.HTTPConnection(host, port, timeout=20)
        connection.putrequest(method, path if raw else f"/{server.token}/{path}", skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    return asked


def changed(path: Path) -> bytes:
    return f"'{path}' has changed since the page was loaded: load it again".encode()


def voxels(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(content)


def test_the_page_and_all_that_it_names(ask: Ask, server: ViewServer) -> None:
    status, headers, content = ask("")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"<title>leg</title>" in content
    named = [word.split('"')[1] for word in content.decode().split() if word.startswith(("src=", "href="))][1:]
    assert named == ["view.css", "niivue/niivue.umd.js", "view.js"]
    assert [ask(name)[0] for name in named] == [200, 200, 200]
    scene = json.loads(ask("scene.json")[2])
    assert scene["structures"] == [
        {"name": "soleus", "colour": "#E69F00", "unlabelled": False},
        {"name": "label 7", "colour": "#56B4E9", "unlabelled": False},
    ]
    assert scene["cases"][0]["masks"] == ["mask.nii.gz"]
    assert urlsplit(server.address).path == f"/{server.token}/"


def test_volumes_are_those_of_the_files_in_their_place(ask: Ask, files: list[Path]) -> None:
    image, mask = (voxels(ask(f"case/0/{name}/0.nii")[2]) for name in ("image", "mask"))
    scan = by_itk(files[0])
    for index in ((0, 0, 0), (11, 9, 8), (3, 7, 2)):
        mm = np.array(scan.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        for volume, wanted in ((image, scan[index]), (mask, {0: 0, 100: 1, 7: 2}[by_itk(files[1])[index]])):
            place = np.rint(np.linalg.inv(volume.affine) @ [*mm, 1])[:3].astype(int)
            assert volume.affine @ [*place, 1] == pytest.approx([*mm, 1], abs=1e-3)
            assert np.asanyarray(volume.dataobj)[tuple(place)] == wanted


def test_a_box_around_a_point_is_of_the_voxels_themselves(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_files, "FIRST_LOOK_VOXELS", 200)
    monkeypatch.setattr(volume_files, "DETAIL_SIDE", 4)
    coarse = voxels(ask("case/0/image/0.nii")[2])
    assert np.prod(coarse.shape) <= 200
    assert coarse.header["descrip"].tobytes().startswith(b"blocks of ")
    x, y, z = coarse.affine[:3, :3] @ (np.array(coarse.shape) // 2) + coarse.affine[:3, 3]
    fine = voxels(ask(f"case/0/image/0.nii?at={x},{y},{z}")[2])
    assert fine.shape == (4, 4, 4)
    assert fine.header["descrip"].tobytes().strip(b"\0") == b""
    apart_mm = np.abs(fine.affine @ [1.5, 1.5, 1.5, 1] - [x, y, z, 1])
    assert apart_mm.max() < 1.7


def test_measures_are_of_the_files_own_voxels(ask: Ask) -> None:
    soleus, other = json.loads(ask("case/0/measures.json")[2])["mask.nii.gz"]
    assert soleus["structure"] == "soleus"
    assert soleus["volume_ml"] == pytest.approx(45 * 0.5 * 0.8 * 1.7 / 1000)
    assert (soleus["touches_border"], other["touches_border"]) == (False, True)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 403),
        ("/scene.json", {}, 403),
        ("/wrong-token/scene.json", {}, 403),
        ("/../../etc/passwd", {}, 403),
        ("{token}../{token}scene.json", {}, 404),
        ("{token}../scene.json", {}, 404),
        ("{token}%2e%2e/scene.json", {}, 404),
        ("{token}..%2f..%2fetc/passwd", {}, 404),
        ("{token}niivue/../scene_of_files.py", {}, 404),
        ("{token}niivue/LICENSE", {}, 404),
        ("{token}case/1/image/0.nii", {}, 404),
        ("{token}case/0/image/1.nii", {}, 404),
        ("{token}case/0/mask/1.nii", {}, 404),
        ("{token}case/-1/mask/0.nii", {}, 404),
        ("{token}scene.json", {"Host": "evil.example"}, 421),
        ("{token}scene.json", {"Host": "127.0.0.1.evil.example:80"}, 421),
        ("{token}scene.json", {"Host": ""}, 421),
        ("{token}scene.json", {"Origin": "https://evil.example"}, 403),
        ("{token}scene.json", {"Origin": "null"}, 403),
        ("{token}scene.json", {"Origin": "http://["}, 400),
    ],
)
def test_nothing_else_is_answered(
    ask: Ask, server: ViewServer, path: str, headers: dict[str, str], status: int
) -> None:
    token = f"/{server.token}/"
    found, _, content = ask(path.replace("{token}", token), raw=True, **headers)
    assert found == status
    assert b"soleus" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(ask: Ask, method: str) -> None:
    assert ask("scene.json", method)[0] == 501


def test_an_address_through_a_tunnel_is_this_machines(ask: Ask) -> None:
    assert ask("scene.json", Host="localhost:8080", Origin="http://localhost:8080")[0] == 200


def test_no_other_machine_reaches_it(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 40


def test_a_file_that_goes_bad_meanwhile_is_a_line(ask: Ask, files: list[Path]) -> None:
    files[0].write_bytes(files[0].read_bytes()[:-40])
    assert ask("case/0/image/0.nii")[::2] == (422, changed(files[0]))
    status, _, content = ask("scene.json")
    assert status == 422
    assert str(files[0]) in content.decode()
    assert len(content.decode().splitlines()) == 1
    files[0].unlink()
    assert ask("case/0/mask/0.nii")[::2] == (422, changed(files[0]))
    assert ask("scene.json")[::2] == (422, f"'{files[0]}' does not exist: correct the path.".encode())


def test_a_mask_that_was_corrected_is_shown_as_it_is_now(ask: Ask, files: list[Path]) -> None:
    before = voxels(ask("case/0/mask/0.nii")[2])
    image = sitk.ReadImage(str(files[1]))
    sitk.WriteImage(sitk.Cast(sitk.Equal(image, 100) * 9, sitk.sitkUInt8), str(files[1]))
    for asked in ("case/0/mask/0.nii", "case/0/measures.json"):
        assert ask(asked)[::2] == (422, changed(files[1]))
    names = [one["name"] for one in json.loads(ask("scene.json")[2])["structures"]]
    assert names == ["soleus", "label 9"]
    after = voxels(ask("case/0/mask/0.nii")[2])
    assert ((np.asanyarray(after.dataobj) == 2) == (np.asanyarray(before.dataobj) == 1)).all()
    assert [row["structure"] for row in json.loads(ask("case/0/measures.json")[2])["mask.nii.gz"]] == ["label 9"]


def test_a_taken_port_is_a_line(files: list[Path]) -> None:
    def scene() -> Scene:
        return scene_of_files(files[0], [], {})

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 cannot be listened on"):
            ViewServer(scene, port)
    with pytest.raises(InputError, match=r"port 70000 of 127\.0\.0\.1 cannot be listened on"):
        ViewServer(scene, 70000)
