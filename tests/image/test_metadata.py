"""What a file says besides its pixels: nothing that shows what was removed goes on, and a broken block goes alone."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from dip.image.files import opening, writing

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (18, 22, 3), dtype=np.uint8))
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:{prefix}="{uri}" dc:source="mine" {inside}'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def icc():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def jpeg(picture=PICTURE, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def with_segment(content, marker, block):
    """A JPEG with another block in front of all others."""
    return content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(block) + 2) + block + content[2:]


def exif_with_thumbnail(thumbnail):
    ifd0 = struct.pack("<H", 1) + struct.pack("<HHI4s", 0x10F, 2, 4, b"Cam\0")
    at = 8 + len(ifd0) + 4
    ifd1 = struct.pack("<HHHIIHHIIHHIII", 3, 0x103, 3, 1, 6, 0x201, 4, 1, at + 42, 0x202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd0 + struct.pack("<I", at) + ifd1 + thumbnail


@pytest.fixture
def result(tmp_path, caplog):
    """result(content, ending=".jpg"): a file that is read and written, as a PNG and of its own kind."""

    def read_and_written(content, ending=".jpg"):
        (tmp_path / f"a{ending}").write_bytes(content)
        opened = opening.open_picture(tmp_path / f"a{ending}", "data.image")
        return writing.encoded(opened, "PNG"), writing.encoded(opened, writing.file_format(tmp_path / f"a{ending}"))

    return read_and_written


def test_no_thumbnail_and_no_maker_notes_survive(result, caplog):
    thumbnail = jpeg(PICTURE.resize((16, 12)))
    for written in result(jpeg(exif=exif_with_thumbnail(thumbnail))):
        assert thumbnail not in written
        assert Image.open(io.BytesIO(written)).getexif()[ExifTags.Base.Make] == "Cam"
    assert "the result goes without its thumbnail" in caplog.text
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Cam"
    exif.get_ifd(ExifTags.IFD.Exif).update({0x927C: b"notes" + thumbnail, 0x9214: (3, 4), 0x829A: 0.5})
    for written in result(jpeg(exif=exif.tobytes())):
        assert thumbnail not in written
        assert Image.open(io.BytesIO(written)).getexif().get_ifd(ExifTags.IFD.Exif) == {0x829A: 0.5}
    assert "maker notes" in caplog.text
    assert "subject area" in caplog.text


@pytest.mark.parametrize("junk", [bytes(40), b"written by a tool that knew no better", b"II*\0\xff\xff\xff\x7f"])
def test_a_broken_exif_costs_neither_picture_nor_profile_nor_resolution(result, caplog, junk):
    content = with_segment(jpeg(dpi=(300, 300), icc_profile=icc(), comment="mine"), 0xE1, b"Exif\0\0" + junk)
    for written in result(content):
        info = Image.open(io.BytesIO(written)).info
        assert info["icc_profile"] == icc()
        assert round(info["dpi"][0]) == 300
    assert caplog.text.count("the result goes without its") <= 1


def test_other_broken_blocks_cost_only_themselves(result, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Cam"
    content = jpeg(exif=exif, dpi=(300, 300), icc_profile=b"no profile" * 20, xmp=b"<x:xmpmeta>no xml")
    for written in result(content):
        back = Image.open(io.BytesIO(written))
        assert back.getexif()[ExifTags.Base.Make] == "Cam"
        assert round(back.info["dpi"][0]) == 300
        assert not {"icc_profile", "xmp"} & back.info.keys()
    assert "without its colour profile (broken), XMP (broken)" in caplog.text


@pytest.mark.parametrize(
    ("prefix", "uri", "inside", "named"),
    [
        ("hdrgm", "http://ns.adobe.com/hdr-gain-map/1.0/", 'hdrgm:Version="1.0">', "gain map"),
        ("GDepth", "http://ns.google.com/photos/1.0/depthmap/", 'GDepth:Data="AAAA">', "depth map"),
        ("Container", "http://ns.google.com/photos/1.0/container/", "><Container:Directory/>", "Container"),
        ("xmp", "http://ns.adobe.com/xap/1.0/", "><xmp:Thumbnails>AAAA</xmp:Thumbnails>", "xmp:Thumbnails"),
        ("mwg-rs", "http://www.metadataworkinggroup.com/schemas/regions/", "><mwg-rs:Regions/>", "regions"),
    ],
)
def test_xmp_says_nothing_of_pixels_that_are_not_there(result, caplog, prefix, uri, inside, named):
    gain = jpeg(PICTURE.convert("L"))
    xmp = XMP.format(prefix=prefix, uri=uri, inside=inside).encode()
    for written in result(jpeg(xmp=xmp) + gain):
        assert gain not in written
        assert not any(word in written for word in (b"AAAA", b"hdrgm:Version", b"Directory", b"Regions"))
        assert b"mine" in written
    assert f"the result goes without its XMP {named}" in caplog.text


def test_blocks_of_other_programs_are_named(result, caplog):
    photoshop = b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + jpeg(PICTURE.resize((9, 7)))
    content = with_segment(jpeg(), 0xED, photoshop)
    content = with_segment(content, 0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    for written in result(content):
        assert b"8BIM" not in written
        assert b"21496" not in written
    assert "the result goes without its gain map, Photoshop block (IPTC)" in caplog.text


def test_a_tiff_and_a_png_leave_their_sub_images_and_sources_behind(result, caplog):
    file = io.BytesIO()
    PICTURE.save(file, "TIFF", tiffinfo={34377: b"8BIM preview", 37724: b"layers of the picture", 315: "me"})
    for written in result(file.getvalue(), ".tif"):
        assert b"preview" not in written
        assert b"layers of" not in written
        assert Image.open(io.BytesIO(written)).getexif()[ExifTags.Base.Artist] == "me"
    assert "Photoshop block" in caplog.text
    texts = PngImagePlugin.PngInfo()
    texts.add_text("mxfile", "drawing " * 1000)
    texts.add_text("Title", "mine")
    file = io.BytesIO()
    PICTURE.save(file, "PNG", pnginfo=texts)
    for written in result(file.getvalue(), ".png"):
        assert Image.open(io.BytesIO(written)).text == {"Title": "mine"}
    assert "the result goes without its text mxfile" in caplog.text


def test_metadata_of_a_clean_photograph_is_not_spoken_of(result, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Cam", 6
    result(jpeg(exif=exif, dpi=(72, 72), icc_profile=icc()))
    assert not caplog.text
