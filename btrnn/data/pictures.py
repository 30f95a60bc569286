"""A picture from a file, as a person would see it."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps

_BITS_TAG, _PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")  # Pillow's modes that it turns into RGB rightly
_REMEDY = "save it with grey levels of 8 or 16 bits"


class ImageError(ValueError):
    """A file is not an image that can be read; the message says why."""


def read_picture(path: Path, *, at_least: int | None = None) -> tuple[Image.Image, str]:
    """Read a picture of any kind (grey, palette, CMYK, 16 bits, ...) as a person would see it on a white page.

    It is turned as its EXIF says; what is transparent is white; of several frames it is the first. Grey levels of 16
    bits, and numbers from 0 to 1, keep their place between black and white. Numbers without a known white are refused.

    Args:
        path: The file.
        at_least: Pixels that height and width must have if the file has them; a JPEG's decoder may skip finer detail.

    Returns:
        The picture as red, green and blue, and the mode in which Pillow found the file ("RGB", "L", "CMYK", ...).

    Raises:
        ImageError: The file is missing, truncated, not an image, too large to be one, or of a kind whose colours are
            not known; where the machine is at fault, an OSError with its errno is the cause.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            scale = _white_and_black(image)
            image.load()
            picture = _in_colour(_turned(image), scale)
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # Pillow's decoders have many ways to say that a file is damaged
        raise ImageError(str(error).replace(str(path), path.name) or type(error).__name__) from error
    return picture, mode


def _turned(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; damaged EXIF says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:
        return image


def _white_and_black(image: Image.Image) -> tuple[float, float] | None:
    """Return which numbers of a picture in grey of more than 8 bits are white and black; None where it is not known."""
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F":
        white = 1.0
    elif image.mode in _DEEP_GREY:
        white = 2.0 ** tags.get(_BITS_TAG, (16,))[0] - 1
    elif image.mode == "I" and image.format == "PPM":
        white = 2.0**16 - 1  # Pillow scales to this, whatever the file says is white
    else:
        return None
    return (0.0, white) if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO else (white, 0.0)


def _in_colour(image: Image.Image, scale: tuple[float, float] | None) -> Image.Image:
    """Return a picture in red, green and blue; `scale` is white and black where it has numbers in place of colours."""
    if scale is not None:
        return _in_grey(np.asarray(image).astype(np.float64), scale, image.info.get("transparency"))
    if image.mode == "LAB":
        lab, srgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
        turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert turned is not None  # as it was not asked to change the picture itself
        return turned
    if image.has_transparency_data:
        clear = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), clear).convert("RGB")
    if image.mode not in _PLAIN:
        raise ImageError(f"its pixels are of Pillow's mode {image.mode!r}, whose white is not known; {_REMEDY}")
    return image.convert("RGB")


def _in_grey(numbers: np.ndarray, scale: tuple[float, float], clear: int | None) -> Image.Image:
    """Return a picture of numbers, of which one may stand for what is transparent."""
    white, black = scale
    if not ((numbers >= min(scale)) & (numbers <= max(scale))).all():
        raise ImageError(
            f"its numbers go from {numbers.min():g} to {numbers.max():g}, and which of them is white is not known; "
            f"{_REMEDY}, or with numbers from 0 to 1"
        )
    grey = (numbers - black) / (white - black)
    if clear is not None:
        grey[numbers == clear] = 1
    return Image.fromarray(np.rint(255 * grey).astype(np.uint8)).convert("RGB")


def read_image(path: Path, size: int) -> tuple[UInt8[np.ndarray, "size size 3"], str]:
    """Read an image as `read_picture` does, in the size of a network's input.

    It is scaled to a square as a whole, whatever its shape: a caption may speak of what is at its edges.

    Args:
        path: The file.
        size: Height and width wanted, in pixels.

    Returns:
        The pixels, and the mode in which Pillow found the file ("RGB", "L", "CMYK", ...).

    Raises:
        ImageError: As for `read_picture`.
    """
    upright, mode = read_picture(path, at_least=size)
    return scale_to_square(upright, size), mode


def scale_to_square(picture: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Scale a picture as a whole, whatever its shape, to (size, size, 3)."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)
