"""Which containers a video may be in: files that hold all their data themselves, and no lists of other files.

FFmpeg is given the names of those that it may open, and so opens no file for being named in another. What it took a
refused file for it does not say: that is told from the first bytes. Opening is left to `facts`.
"""

from __future__ import annotations

import os
import re

from codecsieve.codec.video_file import open_bytes

EVERYDAY = (
    "asf avi dv flv gxf ivf kux live_flv matroska mods mov mpeg mpegts mpjpeg mxf nsv nut nuv ogg pmp pva rm swf ty "
    "vivo wtv cine ivr lxf r3d"
)
RAW = (
    "apv av1 avs2 avs3 bitpacked cavsvideo dirac dnxhd evc h261 h263 h264 hevc ingenient ipu m4v mjpeg mjpeg_2000 "
    "mpegvideo obu rawvideo v210 v210x vc1 vc1test vvc yuv4mpegpipe"
)
CAMERAS = "dhav hxvs ifv iv8 lmlm4 luodat lvf msnwctcp mxg nc ser simbiosis_imx"
ANIMATIONS = "apng cdxl fits flic gif iff jpegxl_anim pdv webp_anim filmstrip film_cpk"
GAMES = (
    "4xm anm avs bethsoftvid bfi bink bmv c93 cdg dfa dsicin dxa ea ea_cdata gdv hnm idcin ipmovie jv mgsts mm moflex "
    "mtv mv mvi paf psxstr rl2 roq rpl sdr2 sga siff smjpeg smk smush thp tiertexseq tmv txd usm vividas vmd wc3movie "
    "wsvqa xmv yop"
)
PICTURES = (
    "bmp cri dds dpx exr gem gif hdr j2k jpeg jpegls jpegxl jpegxs pam pbm pcx pfm pgm pgmyuv pgx phm photocd "
    "pictor png ppm psd qdraw qoi sgi sunrast tiff vbn webp xbm xpm xwd"
)
"""Still pictures, one or several in a row, in one file; without SVG, which may name others."""
SOUND = "aac ac3 aiff amr ape au caf eac3 flac mp3 tta w64 wav wv"
"""Without pictures, but for a cover: opened to be told for what they are."""

SELF_CONTAINED = frozenset(
    " ".join((EVERYDAY, RAW, CAMERAS, ANIMATIONS, GAMES, SOUND)).split() + [f"{name}_pipe" for name in PICTURES.split()]
)
"""FFmpeg's names of the demuxers that read the one file that they are given and nothing else.

Left out are lists of files and streams (`LISTS`, and sap, rtp, rtsp, webm_dash_manifest), files that FFmpeg looks for
parts of beside them (mlv, vobsub, dvdvideo), scripts (avisynth, vapoursynth, lavfi), devices, and what has no pictures:
sounds that are rare, subtitles, and text drawn as a picture.
"""

FORMATS_ONLY = {"protocol_whitelist": "", "format_whitelist": ",".join(sorted(SELF_CONTAINED))}
"""Of bytes that FFmpeg is handed, and that name nothing which it may open."""
INPUT_OPTIONS = FORMATS_ONLY | {"protocol_whitelist": "file"}
"""FFmpeg's options that keep a file from having another one, or the network, opened."""

_PEEK_BYTES = 4096
LISTS = {
    "hls": re.compile(rb"#EXTM3U"),
    "concat": re.compile(rb"ffconcat version"),
    "dash": re.compile(rb"<MPD[\s>]"),
    "imf": re.compile(rb"<(\w+:)?CompositionPlaylist[\s>]"),
    "smil": re.compile(rb"<smil[\s>]", re.IGNORECASE),
    "asx": re.compile(rb"<asx[\s>]", re.IGNORECASE),
    "pls": re.compile(rb"\[playlist\]", re.IGNORECASE),
    "sdp": re.compile(rb"v=0\r?\n(?=(.*\n)*?m=)"),
    "vobsub": re.compile(rb"# VobSub index file"),
}
"""How a list of other files, or of streams, begins, behind a declaration of XML and comments: FFmpeg's names, where it
has one."""
_BEFORE = re.compile(rb"(\xef\xbb\xbf)?(\s|<\?xml.*?\?>|<!--.*?-->)*", re.DOTALL)
_PATTERN = re.compile(r"%(\d*d|[*?\[{])")


def url_of(path: str) -> str:
    """What FFmpeg is to be given for a file's name: the prefix keeps "concat:..." from being taken for a protocol."""
    return f"file:{os.path.abspath(path)}"


def beginning_of(path: str, end: int) -> tuple[str, dict[str, str]]:
    """So many of a file's first bytes, and no more of it, as FFmpeg is to be given them: a URL, and options."""
    return f"subfile,,start,0,end,{end},,:{url_of(path)}", INPUT_OPTIONS | {"protocol_whitelist": "file,subfile"}


def format_of(path: str) -> str | None:
    """The demuxer of a file whose name misleads FFmpeg; None: it finds it. Of .jpg it makes the first of a sequence."""
    with open_bytes(path) as file:
        return "jpeg_pipe" if file.read(3) == b"\xff\xd8\xff" and not names_a_sequence(path) else None


def list_kind(path: str) -> str | None:
    """What list of other files a readable file is, such as `hls`, by its first bytes; None where it is none."""
    with open_bytes(path) as file:
        head = file.read(_PEEK_BYTES)
    before = _BEFORE.match(head)
    start = before.end() if before else 0
    return next((kind for kind, begins in LISTS.items() if begins.match(head, start)), None)


def names_a_sequence(path: str) -> bool:
    """Whether FFmpeg may take a file's name for the names of numbered pictures, as `im%03d.png`."""
    return bool(_PATTERN.search(os.path.basename(path)))
