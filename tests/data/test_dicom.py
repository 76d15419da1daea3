"""Dicom: pictures of pydicom's own making, and as pydicom scales, windows and decodes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, pixels
from pydicom.sequence import Sequence
from pydicom.uid import MPEG4HP41, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from brain_tumor_tl.data import dicom
from brain_tumor_tl.data.decode import decode_image, read_picture
from brain_tumor_tl.data.dicom import pseudonym, read_frame, read_header
from brain_tumor_tl.data.formats import UnreadableError

WriteDicom = Callable[..., Path]
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def item(**elements: Any) -> Sequence:
    """Return a sequence of one item."""
    data = Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return Sequence([data])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16], ids=["8 bits", "16 bits", "16 bits, signed"])
def test_read_frame__values(kind: type, write_dicom: WriteDicom, tmp_path: Path) -> None:
    values: NDArray[Any] = (np.arange(35).reshape(5, 7) - (10 if kind is np.int16 else 0)).astype(kind)

    assert np.array_equal(read_frame(write_dicom(tmp_path / "a.dcm", values), 0, own_window=True), values)


def test_read_frame__12_of_16_bits(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")

    assert np.array_equal(read_frame(path, 0, own_window=True), 4095 - RAMP)


def test_read_frame__rescaled(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope="0.5", RescaleIntercept="-100")

    assert np.array_equal(read_frame(path, 0, own_window=True), RAMP / 2 - 100)


@pytest.mark.parametrize("function", ["", "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_read_frame__window_as_pydicom_applies_it(function: str, write_dicom: WriteDicom, tmp_path: Path) -> None:
    window = {"WindowCenter": [900, 10], "WindowWidth": [1200, 5], "RescaleSlope": "0.5", "RescaleIntercept": "-100"}
    path = write_dicom(tmp_path / "a.dcm", RAMP, **window, **({"VOILUTFunction": function} if function else {}))

    seen = read_frame(path, 0, own_window=True)

    data = dcmread(path)
    shown = pixels.apply_windowing(pixels.apply_modality_lut(data.pixel_array, data), data)
    low, high = -100, 65535 / 2 - 100  # what pydicom makes of the least and the greatest stored value
    assert seen.dtype == np.uint8
    assert np.abs(seen - (shown - low) / (high - low) * 255).max() <= 0.5 + 1e-9
    assert len(np.unique(seen)) > 100
    assert read_frame(path, 0, own_window=False).max() == RAMP.max() / 2 - 100


def test_read_frame__window_of_one_is_a_threshold(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=1)

    assert np.array_equal(read_frame(path, 0, own_window=True), np.where(RAMP > 1999, 255, 0))


def test_read_frame__window_of_no_width(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=0)

    with pytest.raises(UnreadableError, match=r"a window 0 wide.*data\.intensity=range"):
        read_frame(path, 0, own_window=True)


def test_read_frame__monochrome1_is_monochrome2_inverted(write_dicom: WriteDicom, tmp_path: Path) -> None:
    window = {"WindowCenter": 900, "WindowWidth": 1200}
    bright = write_dicom(tmp_path / "2.dcm", RAMP, **window)
    dark = write_dicom(tmp_path / "1.dcm", RAMP, **window, PhotometricInterpretation="MONOCHROME1")

    one, other = (read_frame(path, 0, own_window=True) for path in (bright, dark))

    assert np.array_equal(one, 255 - other)
    assert one[0, 0] == 0


def test_read_frame__lut_of_its_own(write_dicom: WriteDicom, tmp_path: Path) -> None:
    table = item(LUTDescriptor=[4, 0, 16], LUTData=np.array([0, 257, 65535, 514], "<u2").tobytes())
    path = write_dicom(tmp_path / "a.dcm", np.array([[0, 1], [2, 3]], np.uint16), VOILUTSequence=table)

    assert read_frame(path, 0, own_window=True).tolist() == [[0, 1], [255, 2]]


def test_read_frame__each_frame_by_its_own_window_and_scale(write_dicom: WriteDicom, tmp_path: Path) -> None:
    scale = item(PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=0, RescaleType="US"))
    views = [item(WindowCenter=c, WindowWidth=101)[0] for c in (50.5, 150.5)]
    each = Sequence([item(FrameVOILUTSequence=Sequence([view]))[0] for view in views])
    frames = np.full((2, 4, 4), 50, np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm", frames, SharedFunctionalGroupsSequence=scale, PerFrameFunctionalGroupsSequence=each
    )

    first, second = (read_frame(path, number, own_window=True) for number in (0, 1))

    assert (first.max(), second.max()) == (255, 0)  # 100 is the end of 0..100 and the start of 100..200
    assert read_frame(path, 1, own_window=False).max() == 100


COMPRESSIONS = {"RLE": RLELossless, "JPEG 2000": JPEG2000Lossless}


@pytest.mark.parametrize("syntax", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
def test_read_frame__compressed_without_loss(syntax: str, write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, compressed=syntax)

    assert np.array_equal(read_frame(path, 0, own_window=True), RAMP)


OF_GDCM = {"JPEG": (JPEGLosslessSV1, "JPEGLosslessProcess14_1"), "JPEG-LS": (JPEGLSLossless, "JPEGLSLossless")}


@pytest.mark.parametrize(("syntax", "name"), OF_GDCM.values(), ids=OF_GDCM.keys())
def test_read_frame__compressed_by_gdcm(syntax: str, name: str, write_dicom: WriteDicom, tmp_path: Path) -> None:
    import gdcm

    path = write_dicom(tmp_path / "a.dcm", RAMP)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(tmp_path / "b.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()

    assert dcmread(tmp_path / "b.dcm").file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(read_frame(tmp_path / "b.dcm", 0, own_window=True), RAMP)


def test_read_frame__no_decoder(write_dicom: WriteDicom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, compressed=RLELossless)
    monkeypatch.setattr(pixels.get_decoder(RLELossless), "_available", {})

    with pytest.raises(UnreadableError, match=r"^compressed as RLE Lossless, .* pip install 'brain_tumor_tl\[dicom\]'"):
        read_frame(path, 0, own_window=True)


def test_read_frame__a_film(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, compressed=RLELossless)
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = MPEG4HP41
    data.save_as(path)

    with pytest.raises(UnreadableError, match=r"compressed as MPEG-4 .*, which pydicom can't read; save it as PNG"):
        read_frame(path, 0, own_window=True)


def test_read_frame__colours(write_dicom: WriteDicom, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)

    picture = read_picture(write_dicom(tmp_path / "a.dcm", values))

    assert np.array_equal(np.asarray(picture.image), values)
    assert (picture.mode, picture.format) == ("RGB", "DICOM")


def test_read_frame__more_pixels_than_pillow_allows(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    data = dcmread(path)
    data.Rows, data.Columns = 60000, 60000
    data.save_as(path)

    with pytest.raises(Image.DecompressionBombError):
        read_frame(path, 0, own_window=True)


def test_read_frame__mask_of_one_bit(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((8, 8), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)

    with pytest.raises(UnreadableError, match=r"MONOCHROME2 of 1 bits, which is not read"):
        read_frame(path, 0, own_window=True)


def test_decode_image__from_memory(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=4000)

    assert np.array_equal(decode_image(io.BytesIO(path.read_bytes()), 16), decode_image(path, 16))


def test_decode_image__without_suffix(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    expected = decode_image(path, 16)

    assert np.array_equal(decode_image(path.rename(tmp_path / "IM0001"), 16), expected)


def test_decode_image__frames_by_number(write_dicom: WriteDicom, tmp_path: Path) -> None:
    frames = np.stack([np.full((8, 8), 50 * number**2, np.uint16) for number in range(3)])
    path = write_dicom(tmp_path / "a.dcm", frames)

    shown = [decode_image(path.with_name(f"a.dcm#{number}"), 8, (0, 200))[0, 0, 0] for number in range(3)]
    assert shown == [0, 64, 255]
    # without a window one scale for the whole file, as `data.intensity=file` promises
    assert [decode_image(path.with_name(f"a.dcm#{number}"), 8)[0, 0, 0] for number in range(3)] == shown


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a.dcm", r"3 pictures in one file; name one of them, #0 to #2"), ("a.dcm#3", "no picture of the number 3 in a")],
    ids=["none named", "too high"],
)
def test_decode_image__frame_that_is_none(name: str, reason: str, write_dicom: WriteDicom, tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", np.zeros((3, 8, 8), np.uint16))

    with pytest.raises(UnreadableError, match=reason):
        decode_image(tmp_path / name, 8)


def test_read_header__of_a_series(write_dicom: WriteDicom, tmp_path: Path) -> None:
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "InstanceNumber": 3}
    path = write_dicom(
        tmp_path / "a.dcm", RAMP, SeriesInstanceUID="1.2.3", ImagePositionPatient=[9, 8, -7.5], PatientID="A1", **place
    )

    assert read_header(path) == (1, pseudonym("A1"), "1.2.3", -7.5)
    frames = write_dicom(tmp_path / "b.dcm", np.zeros((5, 4, 4), np.uint8), InstanceNumber=3)
    assert read_header(frames) == (5, "", "", 3)


def test_pseudonym__tells_only_the_letter_of_a_scan() -> None:
    names = [pseudonym(name) for name in ("MR017260", " MR017260 ", "MR017260B", "MR017261", "Ann", "")]

    assert names[0] == names[1] == names[2][:-1]
    assert len(set(names)) == 5
    assert names[5] == ""
    assert all(name[1:].rstrip("B").isdecimal() for name in names[:5])


def test_parsed_once__a_changed_file_is_read_again(write_dicom: WriteDicom, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    before = read_header(write_dicom(path, RAMP, PatientID="1")).patient
    write_dicom(path, RAMP, PatientID="22")

    assert read_header(path).patient == pseudonym("22") != before
    assert dicom.parsed_once.cache_info().maxsize == 16


def test_read_header__that_tells_of_more_pictures_than_the_file_can_hold(
    write_dicom: WriteDicom, tmp_path: Path
) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    data = dcmread(path)
    data.NumberOfFrames = 10**7
    data.save_as(path)
    with pytest.raises(UnreadableError, match=r"its header tells of 10000000 pictures, and it has \d+ bytes"):
        decode_image(path, 32)
