import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from dip.errors import UserError
from dip.image import tensors
from dip.image.files import deep, opening, writing
from dip.image.files.arrays import ArrayPicture, from_array

RANDOM = np.random.default_rng(0)
SHAPES = {"i2": (12, 10, 5), "u2": (12, 10, 3), "i4": (12, 10), "f4": (8, 12, 10), "f8": (12, 10, 2), "f2": (12, 10)}


def numbers(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if np.dtype(kind).kind == "f":
        return RANDOM.normal(0, 1000, shape).astype(kind)
    return RANDOM.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def filled(picture: ArrayPicture) -> tuple[ArrayPicture, np.ndarray]:
    """The picture with grey in a hole of each channel's own, and where: (H, W, C), boolean."""
    channels = picture.values.shape[2]
    mask = (torch.rand(1, channels, picture.height, picture.width) < 0.5).float()
    levels = tensors.full_range(picture, mask)
    result = tensors.paste(picture, torch.full_like(mask, 0.5), mask, (0, 0, *picture.size), levels)
    return result, mask[0].permute(1, 2, 0).numpy() < 1


def read(path, **options):
    return opening.open_picture(path, "data.image", **options)


@pytest.mark.parametrize(("kind", "ending"), [(kind, ending) for kind in SHAPES for ending in (".npy", ".npz", ".tif")])
def test_arrays_of_every_type_come_back_with_their_known_values(tmp_path, kind, ending):
    array = numbers(kind, SHAPES[kind])
    if ending == ".tif":
        tifffile.imwrite(tmp_path / "a.tif", array)
    else:
        (np.save if ending == ".npy" else np.savez)(tmp_path / f"a{ending}", array)
    picture = read(tmp_path / f"a{ending}")
    if not isinstance(picture, ArrayPicture):
        assert (kind, ending) in (("i4", ".tif"), ("f2", ".tif"))  # which Pillow reads
        return
    assert picture.size == (10, 12)
    result, hole = filled(picture)
    assert (result.values[~hole] == picture.values[~hole]).all()
    assert (result.values[hole] != picture.values[hole]).any()
    file = writing.write(result, tmp_path / f"b{writing.lossless_ending(picture)}")
    assert file.suffix == ending
    again = {".npy": np.load, ".npz": lambda path: np.load(path)["arr_0"], ".tif": tifffile.imread}[ending](file)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert (again == result.array).all()
    assert (read(file).values == result.values).all()


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_16_bits_a_channel_keeps_its_depth_alpha_and_metadata(tmp_path, channels):
    array = numbers("u2", (12, 10, channels))
    blank, texts = Image.new("L", (1, 1)), PngImagePlugin.PngInfo()
    texts.add_itxt("Author", "somebody")
    blank.save(tmp_path / "blank.png", pnginfo=texts, dpi=(200, 200))
    about = (tmp_path / "blank.png").read_bytes()
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(array))
    bare = read(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(deep.encoded_png(bare, about))
    picture = read(tmp_path / "a.png")
    assert isinstance(picture, ArrayPicture)
    assert picture.info["text"] == {"Author": "somebody"}
    assert (picture.alpha is not None) == (channels in (2, 4))
    result, hole = filled(picture)
    file = writing.write(result, tmp_path / "b.png")
    again = imagecodecs.png_decode(file.read_bytes())
    colours = again[..., : picture.values.shape[2]]
    assert again.dtype == np.uint16
    assert (colours[~hole] == array[..., : colours.shape[2]][~hole]).all()
    assert (again[..., colours.shape[2] :] == array[..., colours.shape[2] :]).all()
    with Image.open(file) as reread:
        assert (reread.text["Author"], round(reread.info["dpi"][0])) == ("somebody", 200)


def test_a_tiff_of_16_bits_a_channel_is_turned_upright_and_keeps_where_it_lies(tmp_path):
    array = numbers("u2", (12, 10, 3))
    geo = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extratags=[(274, "H", 1, 6, True), *geo])
    picture = read(tmp_path / "a.tif")
    assert picture.size == (12, 10)
    assert (picture.values == np.rot90(array, -1)).all()
    assert picture.missing == -9999
    file = writing.write(picture, tmp_path / "b.tif")
    with tifffile.TiffFile(file) as again:
        tags = again.pages.first.tags
        assert tags[33550].value == (10.0, 10.0, 0.0)
        assert tags[42113].value == "-9999"
        assert 274 not in tags or tags[274].value == 1


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("bands", [2, 4, 5])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_tiff_of_few_bands_has_no_alpha_and_comes_back(tmp_path, kind, bands, axis):
    array = np.moveaxis(numbers(kind, (12, 10, bands)), -1, axis)
    planes = "separate" if axis == 0 else "contig"
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig=planes)
    picture = read(tmp_path / "a.tif")
    if isinstance(picture, Image.Image):
        assert (kind, bands) == ("u1", 2)  # Pillow's grey with alpha
        return
    assert picture.values.shape == (12, 10, bands)
    assert picture.alpha is None
    file = writing.write(picture, tmp_path / "b.tif")
    assert (tifffile.imread(file) == array).all()
    assert (opening.reopen(file, picture.axis).array == array).all()


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "f4"])
def test_a_geotiff_keeps_its_type_its_place_and_what_is_missing(tmp_path, kind):
    array = numbers(kind, (12, 10))
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (42112, "s", 0, "Höhe".encode(), True)]
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=[*tags, (42113, "s", 0, "7", True)], metadata=None)
    picture = read(tmp_path / "a.tif")
    assert isinstance(picture, ArrayPicture)
    assert picture.missing == 7
    with tifffile.TiffFile(writing.write(picture, tmp_path / "b.tif")) as file:
        assert (file.asarray() == array).all()
        assert file.pages.first.tags[33550].value == (10.0, 10.0, 0.0)
        assert "42112" in {str(tag.code) for tag in file.pages.first.tags}


def test_a_tiff_of_16_bits_keeps_what_is_said_of_the_photograph(tmp_path):
    texts = [(315, "s", 0, "somebody", True), (33432, "s", 0, "2026", True)]
    options = {"photometric": "rgb", "resolution": (300, 300), "resolutionunit": "inch", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", numbers("u2", (12, 10, 3)), extratags=texts, **options)
    file = writing.write(read(tmp_path / "a.tif"), tmp_path / "b.tif")
    with Image.open(tmp_path / "a.tif") as before, tifffile.TiffFile(file) as after:
        tags = after.pages.first.tags
        assert (tags[315].value, tags[33432].value) == ("somebody", "2026")
        assert tags[282].value[0] / tags[282].value[1] == before.info["dpi"][0]


def test_pages_of_one_size_are_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbers("u2", (9, 8, 7)), photometric="minisblack")
    assert read(tmp_path / "a.tif").values.shape == (9, 8, 7)
    tifffile.imwrite(tmp_path / "a.tif", numbers("u2", (20, 8, 9)), photometric="minisblack")
    assert read(tmp_path / "a.tif").values.shape == (8, 9, 20)


def test_what_can_be_read_of_a_damaged_file_of_16_bits_is_used(tmp_path, caplog):
    content = imagecodecs.png_encode(numbers("u2", (60, 50, 3)))
    (tmp_path / "a.png").write_bytes(bytes(content)[:-4000])
    assert read(tmp_path / "a.png").mode == "RGB"
    assert "what can be read of it is used" in caplog.text


@pytest.mark.parametrize("turn", list(opening.TURNS.values()))
def test_an_array_turns_as_a_picture_does(turn):
    array = RANDOM.integers(0, 255, (12, 10), dtype=np.uint8)
    turned = ArrayPicture(array[..., None]).transpose(turn)
    assert (turned.values[..., 0] == np.array(Image.fromarray(array).transpose(turn))).all()


def test_the_axis_of_the_channels_is_the_shorter_one_or_what_is_said(tmp_path):
    np.save(tmp_path / "a.npy", numbers("f4", (5, 40, 30)))
    assert read(tmp_path / "a.npy").values.shape == (40, 30, 5)
    assert read(tmp_path / "a.npy", channel_axis=-1).values.shape == (5, 40, 30)
    assert read(tmp_path / "a.npy", channel_axis=1).values.shape == (5, 30, 40)


def test_each_channel_has_its_own_range_but_for_photographs():
    values = np.stack([numbers("f4", (12, 10)), 5 + numbers("f4", (12, 10)) / 1000], axis=-1)
    drawn = tensors.from_pil(ArrayPicture(values))
    assert drawn.amin(dim=(2, 3)).tolist() == [[0, 0]]
    assert drawn.amax(dim=(2, 3)).tolist() == [[1, 1]]
    assert tensors.full_range(ArrayPicture(numbers("u1", (12, 10, 3)))) == (0, 255)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 4), dtype=complex), "has the type complex128, but it must be of whole or floating-point numbers"),
        (np.zeros((2, 3, 4, 5)), r"has the shape \(2, 3, 4, 5\), but it must be \(H, W\) or \(H, W, C\)"),
        (np.zeros((0, 4)), r"has the shape \(0, 4\)"),
    ],
)
def test_what_is_no_picture_is_refused(array, said):
    with pytest.raises(UserError, match=f"^data.image=a.npy {said}"):
        from_array(array, None, "data.image=a.npy")


def test_a_file_that_runs_code_or_is_huge_is_refused(tmp_path):
    np.save(tmp_path / "code.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"code.npy cannot be read: .*Python objects in dtype"):
        read(tmp_path / "code.npy")
    np.save(tmp_path / "a.npy", np.zeros((2000, 1000)))
    np.savez_compressed(tmp_path / "a.npz", np.zeros((2000, 1000)))
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((3, 2000, 1000), dtype="f4"), compression="zlib", photometric="minisblack"
    )
    for name in ("a.npy", "a.npz", "a.tif"):
        with pytest.raises(UserError, match=r"has 2 megapixels, and data.max_megapixels=1.5"):
            read(tmp_path / name, max_megapixels=1.5)
    np.savez(tmp_path / "two.npz", a=np.zeros((3, 3)), b=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"two.npz holds 2 arrays; give a file with one"):
        read(tmp_path / "two.npz")


def test_an_ending_that_cannot_hold_an_array_is_refused(tmp_path):
    picture = from_array(numbers("f4", (12, 10, 5)), None, "a")
    for name in ("a.png", "a.jpg"):
        with pytest.raises(UserError, match=r"cannot hold float32 values of 5 channels; end it with one of .tif, .npy"):
            writing.check_output(picture, tmp_path / name, overwrite=False)
    for name in ("a.tif", "a.npy", "a.npz"):
        writing.check_output(picture, tmp_path / name, overwrite=False)
