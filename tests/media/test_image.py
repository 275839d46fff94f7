import numpy as np
import pytest
from PIL import Image

from emote_cli.errors import InputError
from emote_cli.media.image import crop_and_resize, read_image, resize
from emote_cli.types import Box


def picture(height=13, width=17):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 10, y * 10, (x + y) * 5], -1).astype(np.uint8)


def test_png_comes_back_exactly(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture())


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(picture()).convert(mode).save(path)
    pixels = read_image(path)
    assert pixels.shape == (13, 17, 3)
    assert pixels.dtype == np.uint8
    assert pixels[-1, -1].mean() > pixels[0, 0].mean()


def test_sixteen_bits_keep_their_range(tmp_path):
    values = np.linspace(0, 65535, 12).reshape(3, 4).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], np.rint(values / 257))


def test_transparent_pixels_show_the_background(tmp_path):
    layer = np.zeros((5, 7, 4), np.uint8)
    layer[2, 3] = 9, 8, 7, 255
    Image.fromarray(layer).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[2, 3].tolist() == [9, 8, 7]
    assert read_image(tmp_path / "a.png", (1, 2, 3))[0, 0].tolist() == [1, 2, 3]


def test_exif_orientation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture(), -1))


def test_an_8k_photo_is_read(tmp_path):
    Image.new("L", (7680, 4320), 99).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (4320, 7680, 3)


def test_bad_inputs_say_what_is_wrong(tmp_path, monkeypatch):
    text, cut, bomb = (tmp_path / name for name in ("text.png", "cut.png", "bomb.png"))
    text.write_text("no picture")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 90, 3), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:9000])
    Image.new("1", (400, 400)).save(bomb)
    cases = {
        tmp_path / "none.png": "does not exist",
        tmp_path: "is a folder",
        text: "is not an image",
        cut: "could not be read",
        bomb: "is too large",
    }
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as raised:
            read_image(path)
        assert raised.value.hint


def test_a_crop_at_its_own_size_is_a_slice():
    np.testing.assert_array_equal(crop_and_resize(picture(), Box(3, 2, 10, 9), 7), picture()[2:9, 3:10])


def test_over_the_edge_the_edge_is_repeated():
    crop = crop_and_resize(picture(), Box(-2, -3, 5, 4), 7)
    np.testing.assert_array_equal(crop[3:, 2:], picture()[:4, :5])
    np.testing.assert_array_equal(crop[0, 2:], picture()[0, :5])
    np.testing.assert_array_equal(crop[3:, 0], picture()[:4, 0])


def test_a_box_beside_the_picture_repeats_its_corner():
    assert (crop_and_resize(picture(), Box(50, 50, 57, 57), 7) == picture()[-1, -1]).all()


def test_shrinking_averages():
    fine = np.tile(np.array([[0, 200], [200, 0]], np.uint8)[..., None], (8, 8, 3))
    assert (resize(fine, (8, 8)) == 100).all()


def test_growing_keeps_flat_areas_flat():
    assert (resize(np.full((5, 5, 3), 77, np.uint8), (11, 11)) == 77).all()


@pytest.mark.parametrize("box", [Box(0, 0, 7, 5), Box(3, 3, 3, 3), Box(5, 5, 2, 2)])
def test_crops_are_square(box):
    with pytest.raises(ValueError, match="square"):
        crop_and_resize(picture(), box, 8)
