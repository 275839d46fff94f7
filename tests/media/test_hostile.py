"""Files of ill will, and files that other programs write oddly: pictures, recordings, playlists, pipes."""

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from emote_cli.errors import InputError, OutputError
from emote_cli.media import audio, image
from emote_cli.media.audio import open_audio, read_audio
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.media.image import read_image
from emote_cli.media.video import Soundtrack, audio_arguments, encoding_of, picture_kind, probe, read_frames

RATE_HZ = 16_000


def ffmpeg(*arguments):
    subprocess.run([ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def voice(seconds=1.0, pitch_hz=300):
    return (0.4 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(
        np.float32
    )


def level(samples):
    return float(np.sqrt(np.square(samples).mean()))


# ------------------------------------------------------------------------------------------------ pictures

PRIMARIES = {
    "p3": ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
    "adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "prophoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
}  # fmt: skip
D50 = (0.9642, 1.0, 0.8249)


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC profile, made by hand."""

    def text(name, words):
        return name + b"\0\0\0\0" + words

    tags = {
        b"desc": text(b"desc", struct.pack(">I", 2) + b"x\0" + bytes(78)),
        b"cprt": text(b"text", b"x\0"),
    } | tags
    place, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", place + len(data), len(value))
        data += value
    size = 128 + len(table) + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(D50)[8:]
    return head + bytes(128 - len(head)) + table + data


def xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def rgb_profile(name, curve=2.2):
    red, green, blue = (xyz(c) for c in PRIMARIES[name])
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(curve))
    return profile(b"RGB ", {b"wtpt": xyz(D50), b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue, **curves})


def colors():
    """All combinations of five levels that are not at the edge of any color space."""
    levels = np.linspace(60, 200, 5).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(5, 25, 3))


@pytest.mark.parametrize("name", PRIMARIES)
@pytest.mark.parametrize("ending", ["png", "tif", "webp", "alpha.png"])
def test_colors_are_those_of_the_embedded_profile(tmp_path, name, ending):
    icc, path = rgb_profile(name), tmp_path / f"a.{ending}"
    source, target = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(icc))
    stored = ImageCms.profileToProfile(colors(), source, target, outputMode="RGB", renderingIntent=1)
    if ending.startswith("alpha"):
        stored.putalpha(255)
    stored.save(path, icc_profile=icc, **({"lossless": True} if ending == "webp" else {}))
    assert np.abs(np.asarray(stored.convert("RGB"), int) - np.asarray(colors())).mean() > 3
    assert np.abs(read_image(path).astype(int) - np.asarray(colors())).mean() < 1.5


def test_gray_profiles_are_obeyed(tmp_path):
    icc = profile(b"GRAY", {b"wtpt": xyz(D50), b"kTRC": gamma(1.0)})
    Image.fromarray(np.full((5, 7), 55, np.uint8)).save(tmp_path / "a.png", icc_profile=icc)
    assert abs(int(read_image(tmp_path / "a.png")[2, 3, 1]) - 128) <= 2  # linear light 0.216 in sRGB


def test_cmyk_profiles_are_obeyed(tmp_path):
    # One table of 2 x 2 x 2 x 2 corners to Lab: all but white paper is dark red.
    white, red = (255, 128, 128), (100, 190, 170)
    cells = [white if i == 0 else red for i in range(16)]
    table = b"".join(bytes(cell) for cell in cells)
    straight = bytes(range(256))
    lut = (
        b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", *[65536 * (i % 4 == 0) for i in range(9)])
    )
    lut += straight * 4 + table + straight * 3
    icc = profile(b"CMYK", {b"wtpt": xyz(D50), b"A2B0": lut, b"A2B1": lut}).replace(
        b"mntrCMYKXYZ ", b"prtrCMYKLab "
    )
    Image.new("CMYK", (6, 6), (255, 0, 0, 0)).save(tmp_path / "a.tif", icc_profile=icc)
    red, green, blue = read_image(tmp_path / "a.tif")[3, 3].tolist()
    assert red > green + 50, "cyan ink is red in this profile"
    assert red > blue + 50


def test_profiles_that_say_nothing_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray = profile(b"GRAY", {b"wtpt": xyz(D50), b"kTRC": gamma(1.0)})
    for icc in (srgb, b"nonsense" * 40, rgb_profile("p3")[:200], gray):
        colors().save(tmp_path / "a.png", icc_profile=icc)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(colors()))


@pytest.mark.parametrize("ending", ["png", "eps", "jpg"])
@pytest.mark.parametrize("body", ["showpage", "{ } loop"])
def test_no_picture_is_a_program(tmp_path, monkeypatch, ending, body):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    monkeypatch.setattr(os, "system", lambda *a: started.append(a))
    path = tmp_path / f"a.{ending}"
    path.write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\n{body}\n")
    with pytest.raises(InputError, match="not an image that can be opened"):
        read_image(path)
    assert not started


@pytest.mark.parametrize("content", [b"SIMPLE  =                    T" + b" " * 2900, b"GRIB" + bytes(99),
                                     b"\0\0\1\xb3" + bytes(99), b"<svg xmlns='http://127.0.0.1/'/>",
                                     b"\xd7\xcd\xc6\x9a" + bytes(99)])  # fmt: skip
def test_other_formats_are_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="not an image"):
        read_image(tmp_path / "a.png")


def test_pictures_have_a_time_limit(tmp_path, monkeypatch):
    colors().save(tmp_path / "a.png")
    monkeypatch.setattr(image, "TIME_LIMIT_S", 0.1)
    monkeypatch.setattr(Image.Image, "load", lambda self: time.sleep(3))
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"not decoded within 0\.1 s"):
        read_image(tmp_path / "a.png")
    assert time.monotonic() - begin < 2


# ---------------------------------------------------------------------------------------- pipes and devices


@pytest.mark.parametrize("read", [read_image, open_audio, probe])
def test_pipes_and_devices_are_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", *map(type(tmp_path), ("/dev/zero", "/dev/tty"))):
            with pytest.raises(InputError, match=r"is a pipe or a device|does not exist"):
                read(path)


def test_a_file_as_standard_input_is_a_file(make_wav):
    path = make_wav("a.wav", voice())
    program = (
        "from pathlib import Path; from emote_cli.media.audio import open_audio\n"
        "print(open_audio(Path('/dev/stdin')).n_samples)"
    )
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", program], stdin=file, capture_output=True, check=False)
    assert done.stdout.strip() == b"16000", done.stderr


def test_odd_paths_are_one_line(tmp_path):
    for name in ("x" * 300, "a\0b", "s.wav/inside"):
        (tmp_path / "s.wav").write_bytes(b"1")
        for read in (read_image, open_audio):
            with pytest.raises(InputError, match=r"cannot be opened|does not exist"):
                read(tmp_path / name)


# ------------------------------------------------------------------------------------------------ playlists


@pytest.fixture
def listener():
    """A server on this machine that must never be asked, and how often it was."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve():
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                asked.append(connection.recv(100))
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], asked
        over.set()
        thread.join()


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
    "<Representation><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("ending", ["", ".wav", ".mp4"])
@pytest.mark.parametrize("remote", [False, True])
def test_playlists_are_not_followed(tmp_path, make_wav, listener, kind, ending, remote):
    port, asked = listener
    canary = make_wav("canary.wav", voice())
    target = f"http://127.0.0.1:{port}/a.ts" if remote else str(canary)
    path = tmp_path / f"list{ending or '.' + kind}"
    path.write_text(PLAYLISTS[kind].format(target=target, port=port))
    for read in (open_audio, probe, lambda p: list(read_frames(p)), mux):
        with pytest.raises(InputError, match="is not readable") as raised:
            read(path)
        assert "\n" not in raised.value.message
    assert not asked


def mux(path):
    return audio_arguments(Soundtrack(path), encoding_of(path.with_suffix(".mp4")))


def test_a_playlist_is_called_one(tmp_path):
    (tmp_path / "a.wav").write_text(PLAYLISTS["m3u8"].format(target="/etc/hostname", port=1))
    with pytest.raises(InputError, match="it is a playlist, which names other files"):
        open_audio(tmp_path / "a.wav")
    colors().save(tmp_path / "a.png")
    with pytest.raises(InputError, match="it is no recording"):
        open_audio(tmp_path / "a.png")


# ------------------------------------------------------------------------------------------------ channels


@pytest.mark.parametrize("share", [1.0, 0.95])
def test_opposed_channels_do_not_cancel(tmp_path, make_stereo, share):
    sound = voice()
    path = make_stereo(np.stack([sound, -share * sound]))
    heard = open_audio(path)
    assert level(heard.read(0, heard.n_samples)) > 0.9 * level(sound)
    assert "cancel" in heard.notes[0]


def test_channels_that_are_opposed_for_a_while_do_not_cancel(make_stereo):
    sound, n = voice(3.0), RATE_HZ
    other = sound.copy()
    other[n : 2 * n] *= -1
    heard = read_audio(make_stereo(np.stack([sound, other]))).samples
    for start in range(0, 3 * n, n // 4):
        assert level(heard[start : start + n // 4]) > 0.7 * level(sound)
    np.testing.assert_allclose(heard[: n // 2], sound[: n // 2], atol=2e-3)


def test_opposed_surround_channels_do_not_cancel(tmp_path, make_wav):
    source = make_wav("mono.wav", voice())
    pan = "pan=5.1|FL=c0|FR=-1*c0|FC=0*c0|LFE=0*c0|BL=0*c0|BR=0*c0"
    for name in ("a.flac", "a.mka"):
        ffmpeg("-i", source, "-af", pan, tmp_path / name)
        heard = open_audio(tmp_path / name)
        assert level(heard.read(0, heard.n_samples)) > 0.25
        assert heard.notes


def test_usual_stereo_is_mixed_as_ever(make_stereo):
    left, right = voice(1.0, 300), voice(1.0, 470)
    heard = open_audio(make_stereo(np.stack([left, right])))
    assert not heard.notes
    np.testing.assert_allclose(heard.read(0, heard.n_samples), (left + right) / 2, atol=2e-3)


@pytest.fixture
def make_stereo(tmp_path):
    import soundfile

    def make(channels):
        soundfile.write(tmp_path / "stereo.wav", channels.T, RATE_HZ, "FLOAT")
        return tmp_path / "stereo.wav"

    return make


# ---------------------------------------------------------------------------------- headers, streams, temp


def test_a_header_that_tells_another_length_is_noticed(tmp_path, make_wav):
    whole = make_wav("whole.wav", voice(3.0)).read_bytes()
    short, long, tagged = (tmp_path / name for name in ("short.wav", "long.wav", "tagged.wav"))
    short.write_bytes(whole[: 44 + RATE_HZ * 2])
    long.write_bytes(whole[:40] + struct.pack("<I", RATE_HZ * 2) + whole[44:])
    tagged.write_bytes(whole + b"LIST" + struct.pack("<I", 400) + bytes(400))
    streamed = whole[:4] + b"\xff" * 4 + whole[8:40] + b"\xff" * 4 + whole[44:]
    (tmp_path / "streamed.wav").write_bytes(streamed)
    assert open_audio(short).notes == (f"{short} states a length of 3.00 s, but holds 1.00 s of sound",)
    assert open_audio(long).notes == (f"{long} states a length of 1.00 s, but holds 3.00 s of sound",)
    assert open_audio(tagged).notes == ()
    assert open_audio(tmp_path / "streamed.wav").notes == ()
    assert open_audio(tmp_path / "streamed.wav").duration_s == pytest.approx(3.0)


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "caf"])
def test_cut_off_recordings_of_other_kinds_are_noticed(tmp_path, make_wav, ending):
    source, path = (
        make_wav("a.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 5 * RATE_HZ)),
        tmp_path / f"a.{ending}",
    )
    ffmpeg("-i", source, path)
    assert open_audio(path).notes == ()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    heard = open_audio(path)
    # Ogg says its length at its end: half of it is a whole file.
    assert heard.duration_s < 4
    assert bool(heard.notes) == (ending not in ("ogg", "caf"))


def test_the_default_stream_is_heard_or_the_one_that_is_named(tmp_path, make_wav):
    low, high = make_wav("low.wav", voice(1.0, 200)), make_wav("high.wav", voice(1.0, 900))
    path = tmp_path / "two.mkv"
    ffmpeg("-i", low, "-i", high, "-map", "0:a", "-map", "1:a", "-c:a", "flac", "-disposition:a:0", "0",
           "-disposition:a:1", "default", "-metadata:s:a:1", "language=fra", path)  # fmt: skip

    def pitch(recording):
        return np.abs(np.fft.rfft(recording.read(0, RATE_HZ))).argmax()

    heard = open_audio(path)
    assert pitch(heard) == pytest.approx(900, abs=3)
    assert heard.notes == (
        f"{path} has 2 sound streams: number 2 (fra) is used; --audio-stream chooses another",
    )
    assert pitch(open_audio(path, stream=1)) == pytest.approx(200, abs=3)
    assert open_audio(path, stream=1).notes == ()
    assert "1:a:1" in audio_arguments(Soundtrack(path), encoding_of(tmp_path / "a.mp4"))[1]
    assert "1:a:0" in audio_arguments(Soundtrack(path, stream=1), encoding_of(tmp_path / "a.mp4"))[1]
    with pytest.raises(InputError, match="no sound stream 3: it has 2"):
        open_audio(path, stream=3)


def test_short_sound_needs_no_temporary_folder(make_wav, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", no_folder)
    path = make_wav("a.wav", voice())
    assert open_audio(path).n_samples == RATE_HZ
    monkeypatch.setattr(audio, "MEMORY_BYTES", 1000)
    with pytest.raises(OutputError, match="there is no temporary folder") as raised:
        open_audio(path)
    assert "TMPDIR" in raised.value.hint


def test_a_full_temporary_folder_is_named(tmp_path, make_wav, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda size: Full())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=f"temporary folder {tmp_path}: No space left"):
        open_audio(make_wav("a.wav", voice()))


def no_folder():
    raise FileNotFoundError(2, "No usable temporary directory found")


# ------------------------------------------------------------------------------------------------ footage


def pattern(path, *filters, codec=("libx264", "-qp", "10"), tags=()):
    """Half a second of a moving test picture."""
    source = "testsrc2=s=64x64:r=50:d=1,hue=s=0.5,crop=64:48"
    chain = ",".join((source, *filters, "format=yuv420p10le" if tags else "format=yuv420p"))
    ffmpeg("-f", "lavfi", "-i", chain, "-c:v", *codec, *tags, path)
    return path


@pytest.mark.parametrize("curve", ["arib-std-b67", "smpte2084"])
def test_hdr_is_tone_mapped(tmp_path, curve):
    usual = pattern(
        tmp_path / "sdr.mp4", "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    )
    change = (
        "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv",
        "zscale=t=linear:npl=203,format=gbrpf32le",
        f"zscale=p=2020:t={curve}:m=2020_ncl:r=tv:npl=203",
    )
    tags = (
        "-color_primaries",
        "bt2020",
        "-color_trc",
        curve,
        "-colorspace",
        "bt2020nc",
        "-color_range",
        "tv",
    )
    path = pattern(tmp_path / "hdr.mov", *change, tags=tags)
    assert picture_kind(path).is_hdr
    assert not picture_kind(usual).is_hdr
    shown, wanted = (np.array(list(read_frames(p, fps=25)), int) for p in (path, usual))
    assert np.abs(shown - wanted).mean() < 12
    assert abs(shown.std() - wanted.std()) < 6
    small = np.array(list(read_frames(path, fps=25, size=(32, 24))))
    assert small.shape == (25, 24, 32, 3)


@pytest.mark.parametrize("flags", [("-flags", "+ilme+ildct", "-x264-params", "interlaced=1:tff=1"), ()])
def test_interlaced_footage_is_made_whole(tmp_path, flags):
    moving = ("fps=50", "scroll=h=0.03", "interlace=scan=tff", "setfield=tff" if flags else "setfield=prog")
    path = pattern(tmp_path / "a.mp4", *moving, codec=("libx264", "-qp", "4", *flags))
    assert picture_kind(path).fields == "tff"
    combed = np.array(list(read_frames(path, kind=probe_kind("")))[2:-2], int)
    whole = np.array(list(read_frames(path, kind=picture_kind(path)))[2:-2], int)
    assert combing(whole) < 0.6 * combing(combed)
    assert picture_kind(pattern(tmp_path / "b.mp4", "fps=25", "scroll=h=0.03")).fields == ""


def probe_kind(fields):
    from emote_cli.media.banner import PictureKind

    return PictureKind(fields=fields)


def combing(frames):
    """How much lines differ from their neighbors on both sides, against lines two apart."""
    return np.abs(2 * frames[:, 1:-1] - frames[:, :-2] - frames[:, 2:]).mean()


def test_rotation_and_pixel_aspect_are_honored(tmp_path):
    path = pattern(tmp_path / "a.mp4", "setsar=3/2")
    kind = picture_kind(path)
    assert float(kind.pixel_aspect) == 1.5
    assert (probe(path).width, probe(path).height) == (96, 48)
    ffmpeg("-display_rotation", "90", "-i", path, "-c", "copy", tmp_path / "turned.mp4")
    turned = tmp_path / "turned.mp4"
    assert picture_kind(turned).rotation_deg % 180 == 90
    assert (probe(turned).width, probe(turned).height) == (48, 96)
    assert next(read_frames(turned)).shape == (96, 48, 3)
