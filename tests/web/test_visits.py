"""What a tab sent and made is deleted when nobody needs it, and not before."""

import os
import time

import pytest

from emote_cli.web import visits
from emote_cli.web.visits import Visits, close_job


@pytest.fixture
def all_visits(tmp_path):
    return Visits(tmp_path)


def upload(all_visits, name="a/face.png", age_s=0.0):
    path = all_visits.uploads / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_tab_keeps_its_id_and_a_foreign_one_gets_a_new_one(all_visits):
    first = all_visits.enter("0" * 32)
    assert all_visits.enter("0" * 32) is first
    for foreign in ("", "../../etc", "0" * 31, "G" * 32):
        other = all_visits.enter(foreign)
        assert other.id not in (first.id, foreign)
        assert other.folder.parent == all_visits.jobs


def test_an_upload_is_deleted_when_it_is_replaced_unless_another_tab_shows_it(all_visits):
    one, two = all_visits.enter("1" * 32), all_visits.enter("2" * 32)
    path = upload(all_visits)
    all_visits.hold(one, "portrait", path)
    all_visits.hold(two, "portrait", path)
    all_visits.hold(one, "portrait", None)
    assert path.exists()
    all_visits.hold(two, "portrait", upload(all_visits, "b/other.png"))
    assert not path.parent.exists()


def test_files_outside_the_uploads_are_never_deleted(all_visits, tmp_path):
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"mine")
    visit = all_visits.enter("1" * 32)
    all_visits.hold(visit, "portrait", precious)
    all_visits.hold(visit, "portrait", None)
    assert precious.exists()


def test_a_job_keeps_its_inputs_until_it_is_closed(all_visits):
    visit, path = all_visits.enter("1" * 32), upload(all_visits)
    all_visits.hold(visit, "portrait", path)
    folder, (copy,) = all_visits.new_job(visit, [path])
    all_visits.hold(visit, "portrait", None)
    assert not path.exists()
    assert copy.read_bytes() == b"content"
    assert copy.name == "face.png"
    video = folder / "face.mp4"
    video.write_bytes(b"video")
    (folder / "face.faces.png").write_bytes(b"preview")
    close_job(folder, video)
    assert list(folder.rglob("*")) == [video]
    close_job(folder, None)
    assert not folder.exists()


def test_a_closed_tab_is_swept_after_a_while_and_a_reload_is_not(all_visits, monkeypatch):
    gone, reloaded, busy = (all_visits.enter(digit * 32) for digit in "123")
    path = upload(all_visits, age_s=visits.KEEP_UNUSED_S + 1)
    all_visits.hold(gone, "portrait", path)
    for visit in (gone, reloaded, busy):
        all_visits.leave(visit.id)
    assert all_visits.sweep() == []
    all_visits.enter(reloaded.id)
    now = time.monotonic() + visits.KEEP_GONE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert all_visits.sweep(busy={busy.id}) == [gone.id]
    assert not gone.folder.exists()
    assert not path.exists()
    assert reloaded.folder.exists()
    assert busy.folder.exists()


def test_uploads_that_no_tab_shows_are_swept_when_they_are_old(all_visits):
    old, new = upload(all_visits, "a/old", visits.KEEP_UNUSED_S + 1), upload(all_visits, "b/new")
    all_visits.sweep()
    assert not old.exists()
    assert new.exists()


def test_an_idle_tab_is_swept_at_last(all_visits, monkeypatch):
    visit = all_visits.enter("1" * 32)
    now = time.monotonic() + visits.KEEP_IDLE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert all_visits.sweep() == [visit.id]


def test_room_is_what_files_leave(all_visits):
    before = all_visits.room()
    upload(all_visits)
    assert before - all_visits.room() == len(b"content")
