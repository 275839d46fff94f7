"""`emote animate --batch`: many videos from a table, a folder, or on a cluster."""

import json
import pickle
import shutil

import pytest
from command_line import emote, fails

from emote_cli.animation.provenance import read_making
from emote_cli.media.video import probe, read_frames
from emote_cli.model.checkpoint import random_model, save_model
from emote_cli.settings import load_preset


def test_a_batch_loads_the_model_once_and_outlives_a_bad_job(fake, here, portrait_path, tiny_speech):
    table = here / "jobs.csv"
    rows = f"{portrait_path},{tiny_speech},a.mp4,3\nmissing.png,{tiny_speech},b.mp4,\n"
    table.write_text(f"portrait,audio,output,seed\n{rows}")
    (here / "taken").touch()
    fails(
        emote("animate", "--batch", table, "-o", "taken"), "cannot make taken: File exists", "choose a folder"
    )
    args = ("animate", "--batch", table, "-o", "out", "--model", "tiny")
    result = emote(*args)
    assert result.exit_code == 1
    assert result.stdout == "out/a.mp4\n"
    assert f"warning: {table}, line 3: image" in result.stderr
    assert "1 made, 0 already there, 1 failed" in result.stderr
    table.write_text(table.read_text().replace("missing.png", str(portrait_path)))
    result = emote(*args)
    assert (result.exit_code, result.stdout) == (0, "out/a.mp4\nout/b.mp4\n")
    assert "1 made, 1 already there, 0 failed" in result.stderr
    assert [call["options"].seed for call in fake.calls] == [3, 0]


def test_a_batch_on_a_cluster_runs_the_same_function(fake, here, portrait_path, tiny_speech, monkeypatch):
    """Ray itself is optional: its place is taken by a loop that sends every job through pickle, elsewhere."""
    shutil.copy(portrait_path, here / "one.png")
    (here / "jobs.csv").write_text(f"portrait,audio\none.png,{tiny_speech}\nmissing.png,{tiny_speech}\n")
    elsewhere = here.parent / "elsewhere"
    elsewhere.mkdir()
    asked = []

    def map_jobs_ray(function, jobs, address, *, gpu):
        asked.append((address, gpu))
        for job in jobs:
            monkeypatch.chdir(elsewhere)
            yield job, pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(job)))

    monkeypatch.setattr("emote_cli.animation.batch.map_jobs_ray", map_jobs_ray)
    (here / "models/own").mkdir(parents=True)
    save_model(random_model(load_preset("tiny")), here / "models/own")
    line = ("animate", "--batch", "jobs.csv", "--model", "models/own", "--device", "cpu")
    result = emote(*line, "--ray", "here:1")
    assert result.exit_code == 1
    assert asked == [("here:1", False)]
    assert result.stdout == f"{here / 'one.tiny-speech.mp4'}\n"
    assert "warning: jobs.csv, line 3: image" in result.stderr
    assert probe(here / "one.tiny-speech.mp4").has_audio
    assert read_making(here / "one.tiny-speech.mp4")["settings"]["model"] == "models/own"
    monkeypatch.chdir(here)
    assert "0 made, 1 already there, 1 failed" in emote(*line).stderr
    assert emote("animate", portrait_path, tiny_speech, "--ray", "local").exit_code == 2


def test_a_batch_of_a_folder_and_of_json_lines(fake, here, portrait_path, tiny_speech):
    shutil.copy(portrait_path, here / "one.png")
    shutil.copy(tiny_speech, here / "one.wav")
    (here / "jobs.jsonl").write_text('{"portrait": "one.png", "audio": "one.wav", "output": "j.mp4"}\n')
    assert emote("animate", "--batch", here, "--model", "tiny").stdout == "one.one.mp4\n"
    assert emote("animate", "--batch", "jobs.jsonl", "--model", "tiny").stdout == "j.mp4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("portrait,audio\n", "holds no job"),
        ("portrait,sound\na.png,b.wav\n", "jobs.csv, line 1 (separator: comma): column 'sound' is unknown"),
        ("portrait;output\na.png;b.mp4\n", "line 1 (separator: semicolon): column audio is missing"),
        (
            "\n\nhello\tworld\tseed\n",
            "line 3 (separator: tab): neither column names (portrait, audio, ...) nor a job",
        ),
        ("portrait,audio,audio\na.png,b.wav,c.wav\n", "column audio is there twice"),
        ("[" * 100_000, "nested too deeply"),
        ("", "is empty"),
        ("PK\3\4\0", "is no text"),
    ],
)
def test_a_wrong_table(fake, here, text, message):
    (here / "jobs.csv").write_text(text)
    fails(emote("animate", "--batch", "jobs.csv"), message, "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"seed": "x"}, "seed is 'x', not a whole number"),
        ({"seed": -1}, "seed is -1: out of range"),
        ({"seed": 2**70}, "out of range"),
        ({"steps": 0}, "steps is 0: out of range"),
        ({"steps": 1001}, "out of range"),
        ({"guidance": "nan"}, "guidance is nan, not a number"),
        ({"guidance": "inf"}, "guidance is inf, not a number"),
        ({"guidance": "1e9"}, "out of range"),
        ({"head_speed": 99}, "head_speed is 99"),
        ({"duration": "-1"}, "out of range"),
        ({"start": "1:x"}, "not a time"),
        ({"size": 10**9}, "out of range"),
        ({"fps": "1e9"}, "out of range"),
        ({"smoothing": 6}, "out of range"),
        ({"quality": "best"}, "quality is 'best', not one of"),
        ({"audio": ""}, "audio is missing"),
        ({"audio": "b\0.wav"}, "cannot be opened"),
        ({"nonsense": 1}, "nonsense is unknown"),
        ({"portrait": {"a": 1}}, "portrait is not a single value"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_the_others_are_made(
    fake, here, portrait_path, tiny_speech, row, message
):
    good = {"portrait": str(portrait_path), "audio": str(tiny_speech)}
    rows = [{**good, "output": "a.mp4"}, {**good, "output": "b.mp4", **row}, {**good, "output": "c.mp4"}]
    (here / "jobs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    result = emote("animate", "--batch", "jobs.jsonl", "--model", "tiny")
    assert (result.exit_code, result.stdout) == (1, "a.mp4\nc.mp4\n")
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: jobs.jsonl, line 2: ")
    assert message in warnings[0]


def test_no_exception_of_one_job_ends_the_batch(fake, here, portrait_path, tiny_speech, monkeypatch):
    frames, asked = fake.frames, []

    def sometimes(self, portrait, speech, options):
        asked.append(options.seed)
        if options.seed in (2, 3):
            raise (RuntimeError("a\nbug"), RecursionError())[options.seed - 2]
        return frames(self, portrait, speech, options)

    monkeypatch.setattr(fake, "frames", sometimes)
    rows = "".join(f"{portrait_path},{tiny_speech},{seed}.mp4,{seed}\n" for seed in (1, 2, 3, 4))
    (here / "jobs.csv").write_text("portrait,audio,output,seed\n" + rows)
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny")
    assert (result.exit_code, result.stdout, asked) == (1, "1.mp4\n4.mp4\n", [1, 2, 3, 4])
    assert "line 3: RuntimeError" in result.stderr
    assert sorted(p.name for p in here.iterdir()) == ["1.mp4", "4.mp4", "jobs.csv"]


@pytest.mark.parametrize(
    "content",
    [
        b"portrait,audio,output,seed,start,duration\n{p},{s},a.mp4,1,0,0:00.4\n",
        b"\xef\xbb\xbfPortrait;Audio;Output;Seed;Start;Duration\r\n{p};{s};a.mp4;1;0;0,4\r\n;;;;;\r\n",
        b"portrait\taudio\toutput\tseed\tduration\n{p}\t{s}\ta.mp4\t1\t0.4\n\n\n",
        b"sep=;\r\nportrait;audio;output;seed;duration\r\n{p};{s};a.mp4;1;0,4\r\n",
        b",portrait,audio,output,seed,duration\n0,{p},{s},a.mp4,1.0,0.4\n",  # pandas, with its index
        b" PORTRAIT , Audio ,output, Seed,DURATION,,\n {p} , {s} ,a.mp4, 1 ,0.4,,\n,,,,,,\n",
        b'"portrait","audio","output","seed","duration","size"\n"{p}","{s}","a.mp4","1","0.4",""\n',
        b"portrait|audio|output|seed|duration\n{p}|{s}|a.mp4|1|0.4\n",
        "portrait\taudio\toutput\tseed\tduration\r\n{p}\t{s}\ta.mp4\t1\t0,4\r\n".encode("utf-16"),
        b'{"portrait": "{p}", "audio": "{s}", "output": "a.mp4", "seed": 1.0, "duration": 0.4}\n\n',
        b'[{"portrait": "{p}", "audio": "{s}", "output": "a.mp4", "seed": 1, "duration": "0:00.4"}]',
    ],
)
def test_tables_as_programs_write_them(fake, here, portrait_path, tiny_speech, content):
    shutil.copy(portrait_path, here / "p.png")
    shutil.copy(tiny_speech, here / "s.wav")
    for name in ("jobs.csv", "jobs.txt"):
        (here / name).write_bytes(
            content.decode("utf-16").replace("{p}", "p.png").replace("{s}", "s.wav").encode("utf-16")
            if content[:2] == b"\xff\xfe"
            else content.replace(b"{p}", b"p.png").replace(b"{s}", b"s.wav")
        )
        result = emote("animate", "--batch", name, "--model", "tiny", "-o", name[-3:])
        assert (result.exit_code, result.stdout) == (0, f"{name[-3:]}/a.mp4\n"), result.output
    assert {call["options"].seed for call in fake.calls} == {1}
    assert len(list(read_frames(here / "csv" / "a.mp4"))) == 10


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_without_a_head(fake, here, portrait_path, tiny_speech, separator):
    shutil.copy(portrait_path, here / "p.png")
    shutil.copy(tiny_speech, here / "s.wav")
    (here / "jobs.csv").write_text(f"p.png{separator}s.wav\n\np.png{separator}s.wav{separator}b.mp4\n")
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny")
    assert (result.exit_code, result.stdout) == (0, "p.s.mp4\nb.mp4\n"), result.output


@pytest.mark.parametrize(
    "output", ["../evil.mp4", "{outside}/evil.mp4", "sub/../../evil.mp4", "link/evil.mp4"]
)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_tables_output_stays_in_its_folder(fake, here, portrait_path, tiny_speech, output, force):
    outside = here.parent / "outside"
    for folder in (outside, here / "out" / "sub"):
        folder.mkdir(parents=True)
    (here / "out" / "link").symlink_to(outside)
    canaries = [outside / "evil.mp4", here / "evil.mp4"]
    for canary in canaries:
        canary.write_bytes(b"mine")
    row = {"portrait": str(portrait_path), "audio": str(tiny_speech)}
    rows = [{**row, "output": output.format(outside=outside)}, {**row, "output": "sub/good.mp4"}]
    (here / "jobs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    args = ("animate", "--batch", "jobs.jsonl", "--model", "tiny", "-o", "out", *force)
    result = emote(*args)
    assert (result.exit_code, result.stdout) == (1, "out/sub/good.mp4\n")
    assert "lies outside of out" in result.stderr
    assert [canary.read_bytes() for canary in canaries] == [b"mine", b"mine"]
    if force:
        assert emote(*args, "--outputs-anywhere").exit_code == 0
        assert sum(canary.read_bytes() == b"mine" for canary in canaries) == 1
