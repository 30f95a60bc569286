"""Pictures of every mode and flag come in as a person sees them, or are refused."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from btrnn.data.pictures import ImageError, read_image, read_picture
from btrnn.tasks import captioning

SIZE = (64, 48)
TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)  # what a camera did whose EXIF says 1 to 8


@pytest.fixture
def colours() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC)


@pytest.fixture
def levels(colours: Image.Image) -> np.ndarray:
    return np.asarray(colours.convert("L")).astype(np.float64)


def difference(path: Path, wanted: Image.Image | np.ndarray) -> float:
    found = np.asarray(read_picture(path)[0]).astype(float)
    reference = np.asarray(wanted).astype(float)
    return float(np.abs(found - (reference if reference.ndim == 3 else reference[..., None])).mean())


def white_is_zero(path: Path) -> None:
    """Make a TIFF say that its numbers mean the opposite."""
    content, tag = path.read_bytes(), struct.pack("<HHI", 262, 3, 1)
    place = content.index(tag) + len(tag)
    path.write_bytes(content[:place] + struct.pack("<HH", 0, 0) + content[place + 4 :])


@pytest.mark.parametrize(
    ("name", "order"), [("a.png", "<"), ("a.tif", "<"), ("a.tif", ">"), ("a.pgm", "<"), ("a.jp2", "<")]
)
def test_grey_of_16_bits_is_that_of_8(tmp_path: Path, levels: np.ndarray, name: str, order: str) -> None:
    Image.fromarray((levels * 257).astype(f"{order}u2")).save(tmp_path / name)
    assert difference(tmp_path / name, levels) < 0.5


def test_grey_of_12_bits_is_that_of_8(tmp_path: Path) -> None:
    row = struct.pack("BBB", 0xFF, 0xF0, 0x00)  # 4095, 0: white and black, of 12 bits each
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = struct.pack("<2sHI", b"II", 42, 12) + row + b"\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    assert np.asarray(read_picture(tmp_path / "a.tif")[0])[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("name", ["a.tif", "a.pfm"])
def test_numbers_from_0_to_1_are_grey(tmp_path: Path, levels: np.ndarray, name: str) -> None:
    Image.fromarray((levels / 255).astype(np.float32)).save(tmp_path / name)
    assert difference(tmp_path / name, levels) < 0.5


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_white_may_be_zero(tmp_path: Path, levels: np.ndarray, kind: type) -> None:
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[kind]
    Image.fromarray(((255 - levels) * scale).astype(kind)).save(tmp_path / "a.tif")
    white_is_zero(tmp_path / "a.tif")
    assert difference(tmp_path / "a.tif", levels) < 0.5


@pytest.mark.parametrize("numbers", ["int32", "0 to 255", "below 0", "nan", "inf"])
def test_numbers_without_a_known_white_are_refused(tmp_path: Path, levels: np.ndarray, numbers: str) -> None:
    values = {
        "int32": (levels * 257).astype(np.int32),
        "0 to 255": levels.astype(np.float32),
        "below 0": (levels / 255 - 0.5).astype(np.float32),
        "nan": np.where(levels == levels[0, 0], np.nan, 0.5).astype(np.float32),
        "inf": np.where(levels == levels[0, 0], np.inf, 0.5).astype(np.float32),
    }
    Image.fromarray(values[numbers]).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="white is not known; save it"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.tga"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_a_white_page(tmp_path: Path, colours: Image.Image, name: str, mode: str) -> None:
    picture = colours.convert("L" if mode == "LA" else "RGB")
    opacity = np.linspace(0, 255, SIZE[0])[None].repeat(SIZE[1], 0)
    share = np.rint(opacity).astype(np.uint8) / 255
    wanted = share[..., None] * np.asarray(picture.convert("RGB")) + 255 * (1 - share[..., None])
    picture.putalpha(Image.fromarray(np.rint(opacity).astype(np.uint8)))
    assert picture.mode == mode
    picture.save(tmp_path / name)
    assert difference(tmp_path / name, wanted) < 3


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "RGB"])
def test_a_colour_that_stands_for_transparent_is_white(tmp_path: Path, colours: Image.Image, mode: str) -> None:
    picture = colours.quantize(16) if mode == "P" else colours.convert("L" if mode == "I;16" else mode)
    numbers = np.asarray(picture)
    clear: Any = numbers[5, 5].tolist()
    wanted = np.asarray(picture.convert("RGB")).copy()
    wanted[(numbers == numbers[5, 5]).reshape(SIZE[1], SIZE[0], -1).all(axis=-1)] = 255
    if mode == "I;16":
        picture, clear = Image.fromarray(numbers.astype(np.uint16) * 257), clear * 257
    picture.save(tmp_path / "a.png", transparency=tuple(clear) if mode == "RGB" else int(clear))
    assert difference(tmp_path / "a.png", wanted) < 0.5


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.tif", "YCbCr"), ("a.gif", "P")])
def test_other_colours_are_as_they_were(tmp_path: Path, colours: Image.Image, name: str, mode: str) -> None:
    picture = colours.convert(mode)
    picture.save(tmp_path / name)
    assert read_picture(tmp_path / name)[1] == mode
    assert difference(tmp_path / name, picture.convert("RGB")) < 3


def test_lab_colours_are_as_they_were(tmp_path: Path, colours: Image.Image) -> None:
    srgb, lab = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    turned = ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB")
    assert turned is not None
    turned.save(tmp_path / "a.tif")
    assert difference(tmp_path / "a.tif", colours) < 3


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_seen_and_shown_upright(
    tmp_path: Path, colours: Image.Image, name: str, orientation: int
) -> None:
    turn = TURNS[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (colours if turn is None else colours.transpose(turn)).save(tmp_path / name, exif=exif)
    assert difference(tmp_path / name, colours) < 6
    square = colours.resize((160, 160))
    turned = square if turn is None else square.transpose(turn)
    turned.save(tmp_path / name, exif=exif)
    seen, shown = read_image(tmp_path / name, 160)[0], captioning._picture(tmp_path / name)
    np.testing.assert_array_equal(seen, shown)


def test_damaged_exif_turns_nothing(tmp_path: Path, colours: Image.Image) -> None:
    colours.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95)
    assert difference(tmp_path / "a.jpg", colours) < 6


@pytest.mark.parametrize("error", [IndexError("a"), KeyError("a"), struct.error("a"), EOFError(), RuntimeError("a")])
def test_whatever_a_decoder_raises_is_of_the_file(
    tmp_path: Path, colours: Image.Image, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    colours.save(tmp_path / "a.png")

    def fail(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError):
        read_picture(tmp_path / "a.png")
    error = MemoryError()  # but not what is no fault of it
    with pytest.raises(MemoryError):
        read_picture(tmp_path / "a.png")
