"""Transcoding: which outputs are planned, what an encoded file holds, what happens when something fails."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from children import command_line

from codecsieve.errors import VideoError
from codecsieve.pipelines.transcode import ffmpeg_program
from codecsieve.pipelines.transcode.config import TranscodeOptions
from codecsieve.pipelines.transcode.ffmpeg_program import find_ffmpeg
from codecsieve.pipelines.transcode.plan import TranscodeJob, plan_transcode
from codecsieve.pipelines.transcode.run import transcode_many, transcode_one

FAST = TranscodeOptions(preset="ultrafast")
TICKS = Fraction(1, 1000)


def write_video(
    path: Path,
    frames: int = 20,
    size: tuple[int, int] = (64, 48),
    timestamps: Iterable[int] | None = None,
    codec: str = "mpeg4",
    rotation: int = 0,
    options: dict[str, str] | None = None,
    noise: bool = False,
) -> Path:
    """A small clip of a square that moves over a gradient; timestamps in ms, 40 apart by default."""
    width, height = size
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = TICKS
        if rotation:
            stream.set_display_rotation(rotation)
        for index, pts in zip(range(frames), timestamps or range(0, 40 * frames, 40), strict=False):
            image = np.full((height, width, 3), np.arange(width)[None, :, None] * 2 % 256, np.uint8)
            image[8:24, index : index + 16] = 255
            if noise:
                image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = pts, TICKS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def kinds_of(path: Path) -> str:
    """The pictures of a file in the order shown: K for a keyframe, else I, P or B."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    letters = {1: "I", 2: "P", 3: "B"}
    return "".join("K" if frame.key_frame else letters[int(frame.pict_type)] for frame in frames)


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def planned(inputs: list[Path], out: Path) -> dict[str, str]:
    return {job.source.name: str(job.output.relative_to(out)) for job in plan_transcode(inputs, out)}


@pytest.fixture(scope="module")
def program() -> str:
    return find_ffmpeg()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi")


@pytest.fixture
def job(source: Path, tmp_path: Path) -> TranscodeJob:
    return TranscodeJob(source, tmp_path / "out" / "clip.mp4")


# --- options


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"codec": "vp9"}, r"codec \('vp9'\) must be one of h264, hevc"),
        ({"crf": 52}, r"crf \(52\) must be in 0..51"),
        ({"gop": 0}, r"gop \(0\) must be >= 1"),
        ({"preset": "warp"}, r"preset \('warp'\) must be one of ultrafast"),
        ({"threads": 0}, r"threads \(0\) must be >= 1"),
        ({"timeout": 0}, r"timeout \(0\) must be > 0"),
        ({"timeout": float("nan")}, r"timeout \(nan\) must be a number > 0"),
    ],
)
def test_an_option_out_of_range_is_told_with_its_rule(option: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        TranscodeOptions(**option)


# --- the plan


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_keeps_its_structure_and_only_its_videos_count(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    touch(tree / "a.MOV", tree / "cat" / "b.webm", tree / "cat" / "notes.txt", tree / "dog" / "c.mp4")
    assert planned([tree], tmp_path / "out") == {
        "a.MOV": "a.mp4",
        "b.webm": "cat/b.mp4",
        "c.mp4": "dog/c.mp4",
    }


def test_files_that_would_share_an_output_get_names_of_their_own(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    touch(tree / "a.avi", tree / "a.mkv", tree / "A.mp4", tree / "b.avi")
    names = planned([tree], tmp_path / "out")
    assert names == {"a.avi": "a.avi.mp4", "a.mkv": "a.mkv.mp4", "A.mp4": "A.mp4.mp4", "b.avi": "b.mp4"}


def test_a_name_that_was_taken_by_another_rule_is_not_given_twice(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    touch(tree / "a.avi", tree / "a.mkv", tree / "a.avi.mkv")
    names = planned([tree], tmp_path / "out")
    assert names["a.avi.mkv"] == "a.avi.mp4"
    assert names["a.mkv"] == "a.mkv.mp4"
    assert names["a.avi"].startswith("a.avi.")
    assert len(set(names.values())) == 3


def test_two_folders_with_the_same_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "a.mp4", tmp_path / "two" / "a.mp4")
    folders = [tmp_path / "one", tmp_path / "two"]
    jobs = plan_transcode(folders, tmp_path / "out")
    assert len({job.output for job in jobs}) == 2
    assert jobs == plan_transcode(folders, tmp_path / "out")
    assert {job.source: job.output for job in jobs} == {
        job.source: job.output for job in plan_transcode(folders[::-1], tmp_path / "out")
    }


def test_a_file_named_twice_is_one_job(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.mp4")
    assert len(plan_transcode([tmp_path / "in", tmp_path / "in" / "a.mp4"], tmp_path / "out")) == 1


def test_outputs_of_an_earlier_run_inside_the_input_folder_are_not_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.avi", tmp_path / "in" / "small" / "a.mp4")
    assert planned([tmp_path / "in"], tmp_path / "in" / "small") == {"a.avi": "a.mp4"}


def test_an_output_that_would_replace_an_input_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    with pytest.raises(VideoError, match=r"a\.mp4 would replace an input; choose another output folder"):
        plan_transcode([tmp_path / "a.mp4"], tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(VideoError, match="would replace an input"):
        plan_transcode([tmp_path / "a.mp4"], tmp_path / "link")
    with pytest.raises(VideoError, match="input and output folder are the same"):
        plan_transcode([tmp_path], tmp_path / "link")


def test_an_output_never_leaves_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "cat" / "a.avi", tmp_path / "elsewhere" / "x")
    nearby = tmp_path / "in" / "cat" / ".." / "cat" / "a.avi"
    assert planned([nearby], tmp_path / "out") == {"a.avi": "a.mp4"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VideoError, match=r"outside .*out: remove that link"):
        plan_transcode([tmp_path / "in"], tmp_path / "out")


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no video in this folder"):
        plan_transcode([tmp_path], tmp_path / "out")


# --- what an output holds


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_an_output_is_p_only_with_a_keyframe_every_16(codec: str, tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.avi", frames=35, size=(67, 49))
    job = TranscodeJob(source, tmp_path / "deep" / "er" / "clip.mp4")
    result = transcode_one(job, TranscodeOptions(codec))
    assert (result.status, result.frames, result.damaged, result.error) == ("done", 35, 0, None)
    assert kinds_of(job.output) == "K" + "P" * 15 + "K" + "P" * 15 + "KPP"
    with av.open(str(job.output)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.width, stream.height) == (codec, 66, 48)
        assert stream.codec_context.pix_fmt == "yuv420p"
    data = job.output.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart puts the index first"
    assert names_in(tmp_path / "deep") == {"er/clip.mp4"}


def test_h264_predicts_from_one_reference_without_weights(job: TranscodeJob, program: str) -> None:
    assert transcode_one(job, TranscodeOptions(crf=30), program).status == "done"
    data = job.output.read_bytes()  # x264 writes its settings into the stream
    for setting in (
        b" ref=1 ",
        b" bframes=0 ",
        b" weightp=0 ",
        b" keyint=16 ",
        b" scenecut=0 ",
        b" crf=30.0 ",
    ):
        assert setting in data


def test_a_scene_cut_does_not_move_the_keyframes(tmp_path: Path, program: str) -> None:
    source = write_video(tmp_path / "noise.avi", noise=True)
    job = TranscodeJob(source, tmp_path / "out.mp4")
    assert transcode_one(job, TranscodeOptions(gop=8), program).status == "done"
    assert kinds_of(job.output) == "KPPPPPPP" * 2 + "KPPP"


def test_uneven_timestamps_stay_as_they_are(tmp_path: Path, program: str) -> None:
    times = [0, 7, 8, 500, 530, 2000, 2001, 2033, 2500, 2540]
    job = TranscodeJob(write_video(tmp_path / "vfr.mkv", frames=10, timestamps=times), tmp_path / "out.mp4")
    assert transcode_one(job, FAST, program).frames == 10
    with av.open(str(job.output)) as container:
        assert [round(frame.time * 1000) for frame in container.decode(video=0)] == times


def test_a_rotated_video_is_turned_upright(tmp_path: Path, program: str) -> None:
    source = write_video(tmp_path / "phone.mp4", rotation=90)
    job = TranscodeJob(source, tmp_path / "out.mp4")
    assert transcode_one(job, FAST, program).status == "done"
    with av.open(str(job.output)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (48, 64, 0)


def test_a_truncated_source_gives_what_decodes(tmp_path: Path, program: str) -> None:
    source = write_video(tmp_path / "clip.ts", frames=40, codec="libx264", noise=True)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    job = TranscodeJob(source, tmp_path / "out.mp4")
    result = transcode_one(job, FAST, program)
    assert result.status == "done"
    assert 10 < result.frames < 40
    assert len(kinds_of(job.output)) == result.frames


# --- running again


def test_what_is_done_is_kept_and_what_changed_is_made_anew(job: TranscodeJob, program: str) -> None:
    assert transcode_one(job, FAST, program).status == "done"
    first = job.output.stat().st_ino, job.output.read_bytes()

    again = transcode_one(job, FAST, program)
    assert (again.status, again.frames) == ("skipped", 20)
    assert (job.output.stat().st_ino, job.output.read_bytes()) == first

    assert transcode_one(job, TranscodeOptions(preset="ultrafast", timeout=60), program).status == "skipped"
    assert transcode_one(job, TranscodeOptions(preset="ultrafast", crf=35), program).status == "done"

    write_video(job.source, frames=9)
    changed = transcode_one(job, FAST, program)
    assert (changed.status, changed.frames) == ("done", 9)


def test_the_same_source_gives_the_same_bytes(job: TranscodeJob, program: str) -> None:
    transcode_one(job, FAST, program)
    first = job.output.read_bytes()
    job.output.unlink()
    transcode_one(job, FAST, program)
    assert job.output.read_bytes() == first


@pytest.mark.parametrize("kept", [0, 0.5, 0.9])
def test_an_output_gone_bad_is_made_anew(kept: float, job: TranscodeJob, program: str) -> None:
    transcode_one(job, FAST, program)
    whole = job.output.read_bytes()
    job.output.write_bytes(whole[: int(len(whole) * kept)])
    assert transcode_one(job, FAST, program).status == "done"
    assert job.output.read_bytes() == whole


def test_a_video_of_someone_elses_is_not_replaced(job: TranscodeJob, program: str) -> None:
    job.output.parent.mkdir()
    before = write_video(job.output).read_bytes()
    result = transcode_one(job, FAST, program)
    assert result.status == "failed"
    assert result.error.startswith(f"{job.output}: a video that was not made by transcode")
    assert job.output.read_bytes() == before


@pytest.mark.parametrize(
    "comment", ["by hand", "{", "[]", "7", "null", '{"frames": 3}', '{"frames": [], "damaged": 0}']
)
def test_a_comment_that_is_not_ours_fails_that_file_alone(comment: str, job: TranscodeJob, program: str) -> None:
    job.output.parent.mkdir()
    with av.open(str(job.output), "w") as container:
        container.metadata["comment"] = f"codecsieve transcode {comment}"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    before = job.output.read_bytes()
    result = transcode_one(job, FAST, program)
    assert result.error.startswith(f"{job.output}: a video that was not made by transcode; move it away")
    assert job.output.read_bytes() == before


def test_leftovers_of_a_killed_run_go_once_nobody_can_be_writing_them(job: TranscodeJob, program: str) -> None:
    old, new, other = (job.output.parent / n for n in (".transcode-1.part", ".transcode-2.part", "b.part"))
    touch(old, new, other)
    for path in (old, other):
        os.utime(path, (time.time() - 2 * FAST.timeout,) * 2)
    transcode_one(job, FAST, program)
    assert names_in(job.output.parent) == {"clip.mp4", new.name, other.name}


# --- what goes wrong


def test_bad_files_fail_alone_each_with_a_line_that_names_it(tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.avi")
    missing, empty, text = tmp_path / "missing.mp4", tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("This is no video.\n" * 50)
    sound = write_sound(tmp_path / "sound.wav")
    header = tmp_path / "header.mkv"
    header.write_bytes(write_video(tmp_path / "whole.mkv").read_bytes()[:600])

    told: list[str] = []
    jobs = plan_transcode([missing, empty, text, sound, header, good], tmp_path / "out")
    results = transcode_many(jobs, FAST, 2, lambda result: told.append(result.job.source.name))

    assert [r.status for r in results] == ["failed"] * 5 + ["done"]
    assert sorted(told) == sorted(job.source.name for job in jobs)
    for result in results[:5]:
        assert str(result.job.source) in result.error
        assert "\n" not in result.error
    reasons = [
        "No such file",
        "is empty",
        "not a readable video",
        "no video stream",
        "no frame of it decodes",
    ]
    for result, reason in zip(results, reasons, strict=False):
        assert reason in result.error
    assert names_in(tmp_path / "out") == {"good.mp4"}


def test_a_list_of_other_files_is_refused(tmp_path: Path, program: str) -> None:
    write_video(tmp_path / "part.ts", codec="libx264")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:0.8,\npart.ts\n#EXT-X-ENDLIST\n")
    concat = tmp_path / "concat.mp4"
    concat.write_text("ffconcat version 1.0\nfile part.ts\n")
    for path in (playlist, concat):
        result = transcode_one(TranscodeJob(path, tmp_path / "out" / path.name), FAST, program)
        assert result.error.startswith(f"{path}: is a list of other files")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_told(source: Path, tmp_path: Path, program: str) -> None:
    (tmp_path / "out").touch()
    result = transcode_one(TranscodeJob(source, tmp_path / "out" / "clip.mp4"), FAST, program)
    assert result.status == "failed"
    assert str(tmp_path / "out") in result.error


def test_a_name_that_is_not_utf8_is_told_in_ascii(tmp_path: Path, program: str) -> None:
    source = write_video(tmp_path / "clip.avi").rename(tmp_path / os.fsdecode(b"\xff.avi"))
    result = transcode_one(TranscodeJob(source, tmp_path / "out.mp4"), FAST, program)
    assert result.error == f"'{tmp_path}/\\udcff.avi': its name is not UTF-8; rename it"


def test_the_cause_in_ffmpegs_own_words_is_what_is_told(tmp_path: Path, program: str) -> None:
    source = write_video(tmp_path / "clip.avi")
    job = TranscodeJob(source, tmp_path / "out.mp4")
    fake = fake_ffmpeg(
        tmp_path,
        "import sys; sys.exit('[libx264 @ 0x7f] Cannot allocate memory\\n[vf#0:0 @ 0x1] Terminating thread\\n"
        "[out#0/mp4 @ 0x2] Nothing was written into output file\\nConversion failed!')",
    )
    result = transcode_one(job, FAST, fake)
    assert result.error == f"{source}: ffmpeg failed (Cannot allocate memory)"
    assert names_in(tmp_path) == {"clip.avi", "ffmpeg"}


def fake_ffmpeg(folder: Path, code: str) -> str:
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def copying_ffmpeg(folder: Path, video: Path) -> str:
    """A program that writes `video`, whatever it is asked for."""
    return fake_ffmpeg(folder, f"import shutil, sys; shutil.copy({str(video)!r}, sys.argv[-2].removeprefix('file:'))")


def test_an_output_with_lost_frames_is_not_published(job: TranscodeJob, tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", frames=19)
    result = transcode_one(job, FAST, copying_ffmpeg(tmp_path, short))
    assert "it has 20 frames but its output 19" in result.error
    assert names_in(job.output.parent) == set()


def test_an_output_with_b_pictures_is_not_published(job: TranscodeJob, tmp_path: Path) -> None:
    options = {"bf": "2", "b_strategy": "0", "g": "16"}
    with_b = write_video(tmp_path / "b.mp4", codec="libx264", options=options)
    assert "B" in kinds_of(with_b)
    result = transcode_one(job, FAST, copying_ffmpeg(tmp_path, with_b))
    assert "of its output is B, not P" in result.error
    assert names_in(job.output.parent) == set()


def programs() -> list[psutil.Process]:
    """What this process runs, but for what earlier tests' worker processes have left it."""
    running = [(child, command_line(child)) for child in psutil.Process().children()]
    return [child for child, command in running if command and "multiprocessing" not in command]


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended(job: TranscodeJob, tmp_path: Path) -> None:
    hanging = fake_ffmpeg(tmp_path, "import time; time.sleep(60)")
    start = time.monotonic()
    result = transcode_one(job, TranscodeOptions(timeout=0.5), hanging)
    assert time.monotonic() - start < 30  # of 60
    assert "not done after 0.5 s; raise the timeout" in result.error
    assert not programs()


@pytest.mark.slow
def test_an_interrupt_ends_the_programs_and_leaves_no_half_output(tmp_path: Path) -> None:
    quick = write_video(tmp_path / "quick.avi", frames=2)
    slow = write_video(tmp_path / "slow.avi", frames=150, size=(640, 480), noise=True)

    def interrupt(result: object) -> None:
        deadline = time.monotonic() + 30
        while not programs() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert programs(), "the slow job's program is running"
        interrupted.append(time.monotonic())
        raise KeyboardInterrupt

    interrupted: list[float] = []
    jobs = plan_transcode([slow, quick], tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        transcode_many(jobs, TranscodeOptions(preset="placebo"), 2, interrupt)
    assert time.monotonic() - interrupted[0] < 15
    assert not programs()
    assert names_in(tmp_path / "out") == {"quick.mp4"}


# --- the ffmpeg program


def test_without_any_program_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoError, match=r"libx265 .*PATH: none; imageio-ffmpeg: none.*pip install imageio-ffmpeg"):
        find_ffmpeg("hevc")


def test_a_program_on_path_is_used_if_it_can_encode_and_passed_over_if_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    shutil.copy(program, tmp_path / "ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(tmp_path / "ffmpeg")

    (tmp_path / "ffmpeg").unlink()
    lacking = fake_ffmpeg(tmp_path, "import sys; sys.exit(\"Unknown encoder 'libx264'\")")
    assert find_ffmpeg() not in (lacking, str(tmp_path / "ffmpeg"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoError, match=r"ffmpeg cannot .Unknown encoder 'libx264'"):
        find_ffmpeg()


def test_a_program_that_hangs_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_ffmpeg(tmp_path, "import time; time.sleep(60)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(ffmpeg_program, "TRIAL_SECONDS", 0.5)
    with pytest.raises(VideoError, match=r"PATH: .*ffmpeg has not encoded two frames after 0\.5 s"):
        find_ffmpeg()
