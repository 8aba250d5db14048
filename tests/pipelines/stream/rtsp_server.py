"""An RTSP server for tests: one client, H.264 over the connection itself, RTP packets lost as wanted."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

_MOST = 1200  # bytes of a packet
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
)


@contextmanager
def camera(path: Path, lost: frozenset[int] = frozenset(), hold: float = 0.0, mute: bool = False) -> Iterator[str]:
    """The address of a camera that shows a transport stream's H.264 once.

    lost: numbers of RTP packets that are not sent; hold: seconds of silence before it ends; mute: it answers nothing.
    """
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                if mute:
                    ended.wait(20)
                elif _agree(connection):
                    for number, packet in enumerate(rtp_packets(path)):
                        if number not in lost:
                            connection.sendall(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
                            time.sleep(0.001)
                    ended.wait(hold)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"rtsp://me:secret@127.0.0.1:{server.getsockname()[1]}/camera?token=secret"
        finally:
            ended.set()
            thread.join(20)


def _agree(connection: socket.socket) -> bool:
    """Answer requests until the client wants it to play; whether it did."""
    requests = connection.makefile("rb")
    while line := requests.readline():
        method, sequence = line.split()[0].decode(), "0"
        while (head := requests.readline().strip()) != b"":
            if head.lower().startswith(b"cseq:"):
                sequence = head.split()[1].decode()
        body = _SDP if method == "DESCRIBE" else ""
        more = {
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
            "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
            "PLAY": "Session: 1\r\n",
        }[method]
        connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more}\r\n{body}".encode())
        if method == "PLAY":
            return True
    return False


def rtp_packets(path: Path) -> Iterator[bytes]:
    """A transport stream's H.264 as RTP has it (RFC 6184): a unit a packet, or several packets where it is large."""
    sequence = 0
    with av.open(str(path)) as video:
        for picture in video.demux(video=0):
            units = [unit for unit in bytes(picture).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
            for unit in units:
                pieces = list(_pieces(unit))
                for place, piece in enumerate(pieces):
                    last = unit is units[-1] and place == len(pieces) - 1
                    stamp = int(picture.pts * picture.time_base * 90_000) & 0xFFFFFFFF
                    yield struct.pack("!BBHII", 0x80, 96 | last << 7, sequence & 0xFFFF, stamp, 7) + piece
                    sequence += 1


def _pieces(unit: bytes) -> Iterator[bytes]:
    if len(unit) <= _MOST:
        yield unit
        return
    for at in range(1, len(unit), _MOST):
        begins, ends = at == 1, at + _MOST >= len(unit)
        yield bytes([unit[0] & 0xE0 | 28, begins << 7 | ends << 6 | unit[0] & 0x1F]) + unit[at : at + _MOST]
