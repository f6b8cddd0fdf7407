"""Folders and .npz files of images: what they hold, and that each way in which they can be wrong is told."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import InputFileError, MissingDependencyError, OptionError
from dcd_deploy.labelled_images import InputForm, batches, check_classes, open_images
from dcd_deploy.labelled_images import arrays as array_files
from dcd_deploy.labelled_images.calibration_manifest import CalibrationManifest
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.runtimes.preprocessing import preprocess

FORM = InputForm((3, 8, 8), "float32", Preprocessing(8, 8, 8))
MODES = ("RGB", "L", "LA", "RGBA", "P", "CMYK")


@pytest.fixture
def folder(tmp_path):
    """Two classes; each image is of another mode and size, and one is in a folder of its own below its class."""
    numbers = np.random.default_rng(0)
    for i, mode in enumerate(MODES):
        place = tmp_path / "set" / ("dog" if i % 2 else "cat") / ("deep" if i == 4 else "")
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(numbers.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)).convert(mode)
        picture.save(place / f"{i}.{'tif' if mode == 'CMYK' else 'PNG'}")
    (tmp_path / "set" / "dog" / "notes.txt").write_text("no image")
    return tmp_path / "set"


def test_a_folder_is_read_as_imagefolder_reads_it(folder):
    images = open_images(folder)
    assert images.class_names == ("cat", "dog")
    assert images.names == ("cat/0.PNG", "cat/2.PNG", "cat/deep/4.PNG", "dog/1.PNG", "dog/3.PNG", "dog/5.tif")
    assert images.labels == (0, 0, 0, 1, 1, 1)
    assert images.sha256(2) == hashlib.sha256((folder / "cat/deep/4.PNG").read_bytes()).hexdigest()


def test_batches_are_what_predict_makes_of_each_file(folder):
    found = list(batches(open_images(folder), FORM, 4))
    assert [batch.values.shape for batch in found] == [(4, 3, 8, 8), (2, 3, 8, 8)]
    names = [name for batch in found for name in (open_images(folder).names[i] for i in batch.indices)]
    wanted = np.concatenate([preprocess(read_picture(folder / name), FORM.preprocessing) for name in names])
    np.testing.assert_array_equal(np.concatenate([batch.values for batch in found]), wanted)


def test_unreadable_images_are_named_and_left_out(folder):
    (folder / "cat" / "0.PNG").write_bytes(b"no picture")
    (folder / "cat" / "2.PNG").write_bytes(b"")
    (batch,) = batches(open_images(folder), FORM, 10)
    assert [name for name, _ in batch.unreadable] == ["cat/0.PNG", "cat/2.PNG"]
    assert batch.indices == (2, 3, 4, 5)
    assert len(batch.values) == 4


def test_a_batch_of_nothing_readable_is_empty(folder):
    for path in (folder / "cat").glob("*.PNG"):
        path.write_bytes(b"no picture")
    first, _ = batches(open_images(folder).part([0, 1, 3]), FORM, 2)
    assert first.values.shape == (0, 3, 8, 8)


def test_a_flat_folder_has_no_labels(folder):
    images = open_images(folder / "dog")
    assert images.names == ("1.PNG", "3.PNG", "5.tif")
    assert images.labels is None
    with pytest.raises(OptionError, match="images without labels"):
        check_classes(images, 2)


def test_a_circle_of_links_ends(folder):
    (folder / "cat" / "again").symlink_to(folder / "cat")
    assert len(open_images(folder)) == len(MODES)


def test_a_part_keeps_names_labels_and_hashes(folder, tmp_path):
    values = np.random.default_rng(1).normal(size=(5, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "set.npz", images=values, labels=np.arange(5))
    for images in (open_images(folder), open_images(tmp_path / "set.npz")):
        part = images.part([1, 4]).part([1])
        assert part.names == (images.names[4],)
        assert part.labels == (images.labels[4],)
        assert part.sha256(0) == images.sha256(4)
        np.testing.assert_array_equal(part.tensor(0, FORM), images.tensor(4, FORM))


def test_an_array_file_is_taken_as_it_is(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    np.savez_compressed(tmp_path / "set.npz", images=values, labels=np.array([0, 1, 2, 0, 1], np.uint8))
    images = open_images(tmp_path / "set.npz")
    assert images.labels == (0, 1, 2, 0, 1)
    assert images.sha256(3) == hashlib.sha256(values[3].tobytes()).hexdigest()
    np.testing.assert_array_equal(np.concatenate([batch.values for batch in batches(images, FORM, 2)]), values)
    check_classes(images, 3)
    with pytest.raises(OptionError, match="from 0 to 1"):
        check_classes(images, 2)
    for form in (InputForm((3, 8, 9)), InputForm((3, 8, 8), "uint8"), InputForm((8,))):
        with pytest.raises(OptionError, match="as the model takes them"):
            list(batches(images, form, 2))


def test_the_identity_is_of_what_is_evaluated(folder):
    before = open_images(folder).identity
    assert open_images(folder).identity == before
    (folder / "cat" / "0.PNG").rename(folder / "dog" / "0.PNG")
    assert open_images(folder).identity != before


IMAGES = np.zeros((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"labels": np.arange(2)}, "no array 'images'"),
        ({"images": IMAGES.astype(np.float64)}, "not .N, C, H, W. of float32"),
        ({"images": IMAGES[0]}, "not .N, C, H, W."),
        ({"images": IMAGES[:0]}, "not .N, C, H, W."),
        ({"images": np.full_like(IMAGES, np.nan)}, "NaN"),
        ({"images": IMAGES, "labels": np.arange(3)}, "one for each image"),
        ({"images": IMAGES, "labels": np.array([0, -1])}, "-1 to 0"),
        ({"images": IMAGES, "labels": np.array([0, 1 << 40])}, "not the numbers of classes"),
        ({"images": IMAGES, "labels": np.array([0.0, 1.0])}, "no array"),
        ({"images": np.array([object()])}, "no array"),
    ],
)
def test_wrong_array_files_are_refused(tmp_path, arrays, reason):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(InputFileError, match=reason):
        open_images(tmp_path / "set.npz")


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 3, 224, 224)}
    )
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(64))
    with pytest.raises(InputFileError, match="not the size that its header says"):
        open_images(tmp_path / "set.npz")
    monkeypatch.setattr(array_files, "_most_bytes", lambda: 64)
    with pytest.raises(InputFileError, match="MiB that fit here"):
        open_images(tmp_path / "set.npz")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "neither"),
        (lambda path: (path / "cat").mkdir(parents=True), "none in 'cat'"),
        (lambda path: path.write_bytes(b"a file"), "found the file"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, make, reason):
    make(tmp_path / "set")
    with pytest.raises(InputFileError, match=reason):
        open_images(tmp_path / "set")


def test_a_damaged_array_file_is_refused(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(InputFileError, match="cannot be read"):
        open_images(tmp_path / "set.npz")


def test_class_folders_are_those_of_the_model(folder):
    images = open_images(folder)
    check_classes(images, 2, ("cat", "dog"))
    check_classes(images, 2, ("a cat", "a dog"))  # folders are often called by numbers
    with pytest.raises(OptionError, match="3 class folders"):
        check_classes(images, 3)
    with pytest.raises(OptionError, match="sorted by name"):
        check_classes(images, 2, ("dog", "cat"))


def test_a_folder_without_pillow_is_told_at_once(folder, monkeypatch):
    monkeypatch.setattr("dcd_deploy.optional.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="image"):
        open_images(folder).check(FORM)


def test_a_model_of_no_pictures_takes_no_folder(folder):
    with pytest.raises(OptionError, match="RGB pictures"):
        next(batches(open_images(folder), InputForm((1, 8, 8)), 2))


def test_a_manifest_is_read_back():
    made = CalibrationManifest.of([hashlib.sha256(b"a").hexdigest()])
    assert CalibrationManifest.from_plain({"images": 1, "sha256": list(made.sha256)}) == made


@pytest.mark.parametrize(
    "data",
    [None, [], {"images": 0}, {"images": 1, "sha256": ["ab"]}, {"images": True, "sha256": ["0" * 64]},
     {"images": 2, "sha256": ["0" * 64]}, {"images": 1, "sha256": [5]}],
)  # fmt: skip
def test_no_manifest_is_told(data):
    with pytest.raises(ValueError, match="calibration"):
        CalibrationManifest.from_plain(data)
