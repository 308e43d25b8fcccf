"""What a file says besides its pixels: what is about the photograph stays; what shows or describes pixels goes."""

import io
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from PIL import ExifTags, Image

XMP = "XML:com.adobe.xmp"  # the text that holds it in a PNG
ELSEWHERE = (XMP, "Raw profile type")  # texts of a PNG that are read as something else
LONG = 1000  # characters; a longer text of a PNG is the source of a drawing, or a picture
ABOUT = (  # tags that speak of the photograph, and not of how a file's pixels are laid out
    *("DocumentName", "ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "HostComputer"),
    *("Rating", "Copyright", "XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject"),
)
# Tags with previews in them or places in the picture, and an address that is another in another file.
NOT_KEPT = {0x927C: "maker notes", 0x9214: "subject area", 0xA214: "subject location", 0xA005: ""}
# Of XMP, by the end of their namespace; all others describe pixels: gain and depth maps, faces, edits, pictures.
NAMESPACES = (
    *("adobe:ns:meta/", "22-rdf-syntax-ns#", "dc/elements/1.1/", "xap/1.0/", "xap/1.0/rights/", "tiff/1.0/"),
    *("exif/1.0/", "exif/1.0/aux/", "photoshop/1.0/", "lightroom/1.0/", "Iptc4xmpCore/1.0/xmlns/"),
    *("http://cipa.jp/exif/1.0/", "http://creativecommons.org/ns#", "XML/1998/namespace"),
)
IN_XMP = {"Thumbnails", "Orientation", "SubjectArea", "SubjectLocation", "TextLayers", "History", "DocumentAncestors"}
NAMED = {"hdrgm": "gain map", "HDRGainMap": "gain map", "GDepth": "depth map", "mwg-rs": "regions", "MPF": "previews"}
NAMED |= {"Photoshop 3.0": "Photoshop block (IPTC)", "urn:iso:std:iso:ts:21496:-1": "gain map"}
JPEG_BLOCKS = (b"JFIF", b"Exif", b"http://ns.adobe.com/xap/1.0/", b"ICC_PROFILE", b"Adobe")  # that are read
TIFF_TAGS = {330: "sub-images", 33723: "IPTC", 34377: "Photoshop block", 37724: "layers"}


def metadata(file: Image.Image) -> tuple[dict[str, Any], list[str]]:
    """What of a file's metadata goes on into the result, and the names of what does not; each block by itself."""
    info = file.info
    kept: dict[str, Any] = {name: info[name] for name in ("icc_profile", "dpi", "comment") if info.get(name)}
    left_out = list(other_blocks(file))
    if "icc_profile" in kept and kept["icc_profile"][36:40] != b"acsp":
        del kept["icc_profile"]
        left_out.append("colour profile (broken)")
    try:
        kept["exif"] = about(file.getexif(), left_out)
    except Exception:  # broken blocks raise anything
        left_out.append("EXIF (broken)")
    try:
        kept["xmp"] = described(info.get("xmp", info.get(XMP)), left_out)
    except Exception:
        left_out.append("XMP (broken)")
    texts = {name: text for name, text in getattr(file, "text", {}).items() if not name.startswith(ELSEWHERE)}
    kept["text"] = {name: text for name, text in texts.items() if len(text) <= LONG}
    left_out += [f"text {name}" for name in texts.keys() - kept["text"].keys()]
    return kept, left_out


def other_blocks(file: Image.Image) -> Iterator[str]:
    """What a file has besides its picture that is never read."""
    if file.format == "PSD":
        yield "layers"
    for _, content in getattr(file, "applist", ()):
        name = bytes(content).partition(b"\0")[0][:40]
        if bytes(content).startswith(b"JFXX") or (name and name.isascii() and name not in JPEG_BLOCKS):
            yield NAMED.get(name.decode("latin-1"), name.decode("latin-1"))
    yield from (TIFF_TAGS[tag] for tag in TIFF_TAGS.keys() & dict(getattr(file, "tag_v2", {})).keys())


def about(exif: Image.Exif, left_out: list[str]) -> bytes:
    """The tags of EXIF that are about the photograph, as EXIF; b"" for none. A broken one costs none of the others."""
    own = {int(ExifTags.Base[name]): exif.get(int(ExifTags.Base[name])) for name in ABOUT}
    parts: dict[int | None, dict[int, Any]] = {None: own}
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.IFD1):
        try:
            parts[part] = dict(exif.get_ifd(part))
        except Exception:
            left_out.append(f"EXIF {part.name} (broken)")
    if parts.pop(ExifTags.IFD.IFD1, None):
        left_out.append("thumbnail")
    kept = Image.Exif()
    for part, tags in parts.items():
        left_out += [NOT_KEPT[tag] for tag in tags.keys() & NOT_KEPT.keys() if NOT_KEPT[tag]]
        wanted = {tag: value for tag, value in tags.items() if tag not in NOT_KEPT and value is not None}
        sound = {tag: value for tag, value in wanted.items() if is_sound(part, tag, value)}
        left_out += [f"EXIF tag {tag} (broken)" for tag in wanted.keys() - sound.keys()]
        if part is None:
            kept.update(sound)
        elif sound:
            kept[part] = sound
    return kept.tobytes() if len(kept) else b""


def is_sound(part: int | None, tag: int, value: Any) -> bool:
    """Whether a tag can be written."""
    alone = Image.Exif()
    alone[tag if part is None else part] = value if part is None else {tag: value}
    try:
        return bool(alone.tobytes())
    except Exception:  # encoders of broken values raise anything
        return False


def described(xmp: bytes | str | None, left_out: list[str]) -> bytes:
    """What of XMP is about the photograph; b"" for none."""
    text = (xmp.encode() if isinstance(xmp, str) else xmp or b"").strip(b"\0 \r\n\t")
    if not text:
        return b""
    prefixes = {uri: prefix for _, (prefix, uri) in ElementTree.iterparse(io.BytesIO(text), ["start-ns"])}
    root = ElementTree.fromstring(text)
    removed: set[str] = set()

    def is_about(name: str) -> bool:
        uri, _, local = name.lstrip("{").rpartition("}")
        if uri and uri.endswith(NAMESPACES) and local not in IN_XMP:
            return True
        prefix = prefixes.get(uri, uri) or local
        removed.add(NAMED.get(prefix, f"{prefix}:{local}" if local in IN_XMP else prefix))
        return False

    for node in list(root.iter()):
        for name in [name for name in node.attrib if "}" in name and not is_about(name)]:
            del node.attrib[name]
        for child in [child for child in node if not is_about(child.tag)]:
            node.remove(child)
    removed.discard("tiff:Orientation")  # the picture is upright
    left_out += [f"XMP {name}" for name in sorted(removed)]
    if not removed:
        return text
    for uri, prefix in prefixes.items():
        ElementTree.register_namespace(prefix, uri)
    return ElementTree.tostring(root)
