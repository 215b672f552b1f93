"""A folder in ImageNet's layout with everything that can be wrong with one."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Smooth blobs of colour, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


BROKEN = {"train/cats/truncated.jpg", "train/cats/empty.jpg", "train/dogs/text.jpg", "train/dogs/nowhere.jpg"}
BROKEN |= {"train/dogs/half.png", "train/猫/enormous.png"}


def write_photographs(root: Path, sound: int = 6) -> Path:
    """Write sound and broken files into train/ and val/ of a folder; the folder."""
    for split in ("train", "val"):
        for i, name in enumerate(("cats", "dogs", "猫")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for j in range(sound):
                image = Image.fromarray(picture(100 * i + j + (50 if split == "val" else 0)))
                image.save(folder / f"{j}.jpg", quality=95)
    cats, dogs, other = (root / "train" / name for name in ("cats", "dogs", "猫"))
    whole = (cats / "0.jpg").read_bytes()
    (cats / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (cats / "empty.jpg").write_bytes(b"")
    (dogs / "text.jpg").write_text("this is no image")
    (dogs / "nowhere.jpg").symlink_to(root / "nowhere")
    Image.fromarray(picture(1)).save(dogs / "whole.png")
    whole = (dogs / "whole.png").read_bytes()
    (dogs / "half.png").write_bytes(whole[: len(whole) // 2])
    # Unusual but sound:
    Image.fromarray(picture(2)).convert("CMYK").save(dogs / "cmyk.jpg")
    Image.fromarray(picture(3)).convert("L").save(dogs / "grey.jpg")
    Image.fromarray(picture(4)).convert("P").save(dogs / "palette.png")
    Image.fromarray(picture(5)[..., 0].astype(np.uint16) * 257).save(dogs / "sixteen.png")
    Image.fromarray(picture(6, 1, 1)).save(other / "dot.png")
    Image.fromarray(picture(7, 2000, 3000)).save(other / "large.jpg")
    Image.fromarray(picture(8)).save(other / "имя файла é.JPEG")
    deep = other / "deeper"
    deep.mkdir()
    Image.fromarray(picture(9)).save(deep / "inside.png")
    (other / "loop").symlink_to(other)
    # A header that promises 100,000 x 100,000 pixels of nothing.
    header = bytearray(whole)
    header[16:24] = (100_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (other / "enormous.png").write_bytes(header)
    return root
