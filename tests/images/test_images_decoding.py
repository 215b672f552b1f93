"""Decoding: the right pixels, at a scale that loses nothing, and a reason for every file that has none."""

from pathlib import Path

import numpy as np
import pytest
from image_files import picture
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from relic_rl.images.decoding import BrokenImage, Crop, central_crop, decode_crops


def reference(path: Path, crop: Crop) -> np.ndarray:
    """Decode all of it, then crop, then resize: the order of torchvision."""
    image = Image.open(path).convert("RGB")
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    box = tuple(side * length for side, length in zip(box, (image.width, image.height) * 2, strict=True))
    return np.asarray(image.resize((crop.size, crop.size), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1)


def test_crops_are_those_of_a_full_decode(tmp_path: Path) -> None:
    Image.fromarray(picture(0, 900, 1200)).save(tmp_path / "a.jpg", quality=98)
    # An exact crop needs no scale; a whole image brought down to 60 pixels is decoded at an eighth.
    for crop in (Crop(0.2, 0.3, 0.05, 0.05, 60), Crop(0, 0, 1, 1, 60), Crop(0.1, 0.2, 0.5, 0.4, 90)):
        (found,) = decode_crops(tmp_path / "a.jpg", lambda h, w, crop=crop: [crop])
        expected = reference(tmp_path / "a.jpg", crop)
        assert found.shape == (3, crop.size, crop.size)
        assert np.abs(found.astype(int) - expected).mean() < 2.0
    (exact,) = decode_crops(tmp_path / "a.jpg", lambda h, w: [Crop(0.2, 0.3, 0.05, 0.05, 60)])
    assert np.array_equal(exact, reference(tmp_path / "a.jpg", Crop(0.2, 0.3, 0.05, 0.05, 60)))


def test_the_smallest_crop_decides_the_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture(0, 800, 800)).save(tmp_path / "a.jpg")
    asked = []
    draft = JpegImageFile.draft

    def record(self, mode, size):
        draft(self, mode, size)
        asked.append(self.size)

    monkeypatch.setattr(JpegImageFile, "draft", record)
    decode_crops(tmp_path / "a.jpg", lambda h, w: [Crop(0, 0, 1, 1, 100)])
    decode_crops(tmp_path / "a.jpg", lambda h, w: [Crop(0, 0, 1, 1, 100), Crop(0, 0, 0.3, 0.3, 100)])
    decode_crops(tmp_path / "a.jpg", lambda h, w: [Crop(0, 0, 1, 1, 100), Crop(0, 0, 0.1, 0.1, 100)])
    assert asked == [(100, 100), (400, 400)]  # the third is decoded in full


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    colour = picture(5)
    whole = Crop(0, 0, 1, 1, 40)
    Image.fromarray(colour).save(tmp_path / "rgb.png")
    (expected,) = decode_crops(tmp_path / "rgb.png", lambda h, w: [whole])
    grey = np.asarray(Image.fromarray(colour).convert("L"))
    modes = {
        "grey.png": Image.fromarray(grey),
        "sixteen.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.png": Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE),
        "alpha.png": Image.fromarray(colour).convert("RGBA"),
        "cmyk.jpg": Image.fromarray(colour).convert("CMYK"),
    }
    for name, image in modes.items():
        image.save(tmp_path / name)
        (found,) = decode_crops(tmp_path / name, lambda h, w: [whole])
        assert found.shape == (3, 40, 40)
        if name in ("grey.png", "sixteen.png"):
            assert np.ptp(found.astype(int), axis=0).max() == 0
            (luma,) = decode_crops(tmp_path / "grey.png", lambda h, w: [whole])
            assert np.abs(found.astype(int) - luma).max() <= 1
        else:
            assert np.abs(found.astype(int) - expected).mean() < 12
    Image.fromarray(picture(0, 1, 1)).save(tmp_path / "dot.png")
    (dot,) = decode_crops(tmp_path / "dot.png", lambda h, w: [Crop(0, 0, 1, 1, 8)])
    assert np.ptp(dot, axis=(1, 2)).max() == 0


BAD = {
    "text.jpg": (b"no image at all", "not an image"),
    "empty.jpg": (b"", "not an image"),
    "gif.jpg": (b"GIF89a\x01\x00", "."),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told(name: str, tmp_path: Path) -> None:
    content, word = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenImage, match=word) as caught:
        decode_crops(tmp_path / name, lambda h, w: [Crop(0, 0, 1, 1, 8)])
    assert str(tmp_path) not in str(caught.value)
    assert 0 < len(str(caught.value)) < 150


def test_truncated_missing_and_enormous(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    for length in (10, 200, len(whole) // 2, len(whole) - 200):
        (tmp_path / "cut.jpg").write_bytes(whole[:length])
        with pytest.raises(BrokenImage):
            decode_crops(tmp_path / "cut.jpg", lambda h, w: [Crop(0, 0, 1, 1, 8)])
    with pytest.raises(BrokenImage, match="link to nowhere"):
        decode_crops(tmp_path / "none.jpg", lambda h, w: [Crop(0, 0, 1, 1, 8)])
    with pytest.raises(BrokenImage):
        decode_crops(tmp_path, lambda h, w: [Crop(0, 0, 1, 1, 8)])


def test_central_crop_by_hand() -> None:
    assert central_crop(256, 256, 224) == Crop(1 / 16, 1 / 16, 7 / 8, 7 / 8, 224)
    crop = central_crop(100, 400, 64)
    assert (crop.height, crop.width) == (0.875, 0.21875)
    assert crop.left == pytest.approx((1 - 0.21875) / 2)
