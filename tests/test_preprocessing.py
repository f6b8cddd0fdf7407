"""Pictures on their way into a model: read, resized as Pillow does it, cropped, and scaled as published."""

import numpy as np
import pytest
from PIL import Image

from dcd_deploy.artifacts import Preprocessing
from dcd_deploy.errors import (
    InputFileError,
)
from dcd_deploy.runtimes.pictures import read_picture
from dcd_deploy.runtimes.preprocessing import preprocess, resized_crop


@pytest.mark.parametrize(
    ("height", "width", "side"), [(300, 500, 256), (97, 61, 256), (640, 257, 224), (32, 32, 32), (33, 500, 40)]
)
def test_resizing_is_pillows(height, width, side):
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    sides = [side * size // min(height, width) for size in (height, width)]
    ours = resized_crop(picture, side, *sides)
    theirs = Image.fromarray(picture).resize((ours.shape[1], ours.shape[0]), Image.Resampling.BILINEAR)
    assert min(ours.shape[:2]) == side
    assert np.abs(ours - np.asarray(theirs, float)).max() <= 1


@pytest.mark.parametrize(("height", "width", "side"), [(300, 500, 256), (97, 61, 64), (33, 500, 40)])
def test_the_crop_is_the_middle_of_the_whole(height, width, side):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows, columns = (side * size // min(height, width) for size in (height, width))
    whole = resized_crop(picture, side, rows, columns)
    top, left = round((rows - 32) / 2), round((columns - 40) / 2)
    assert np.array_equal(resized_crop(picture, side, 32, 40), whole[top : top + 32, left : left + 40])


def test_preprocessing_is_the_published_one():
    """Resize 256, centre crop 224, mean and deviation of ImageNet, channels first."""
    picture = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    found = preprocess(picture, Preprocessing.for_size(224, 224))
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), float)
    cropped = resized[16:240, 58:282] / 255
    wanted = ((cropped - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)[None]
    assert found.dtype == np.float32
    assert found.shape == (1, 3, 224, 224)
    assert np.abs(found - wanted).max() <= 1.01 / 255 / 0.224


def test_pictures_are_turned_as_the_camera_says(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_picture(tmp_path / "turned.png").shape == (6, 4, 3)
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(InputFileError, match="expected a picture"):
        read_picture(tmp_path / "none.png")
