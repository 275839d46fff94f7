"""How this CPU is used: threads, and a number format that is measured once per machine."""

import json
import os

import pytest
import torch

from emote_cli.animation import cpu


def test_two_threads_of_a_core_count_once(tmp_path, monkeypatch):
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(cpu, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert cpu.physical_cores() == 2
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    assert cpu.physical_cores() == 1


def test_fewer_threads_than_cores_stay(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(cpu, "physical_cores", lambda: 4)
    for there in (3, 4, 8):
        monkeypatch.setattr(torch, "get_num_threads", lambda there=there: there)
        cpu.set_threads()
    assert chosen == [4]
    cpu.set_threads(workers=2)
    monkeypatch.setattr(cpu, "physical_cores", lambda: 1)
    cpu.set_threads(workers=2)
    assert chosen == [4, 2, 1]


def test_a_user_who_says_how_threads_wait_is_obeyed(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    cpu.sleep_when_idle()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    cpu.sleep_when_idle()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize(("ratio", "faster"), [(1.6, True), (1.05, False)])
def test_bf16_is_measured_once(tmp_path, monkeypatch, ratio: float, faster: bool):
    measured = []
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(cpu, "measure_bf16", lambda: measured.append(1) or ratio)
    assert cpu.bf16_is_faster(tmp_path / "new") is faster
    assert cpu.bf16_is_faster(tmp_path / "new") is faster
    assert len(measured) == 1
    (tmp_path / "new" / "cpu.json").write_text("broken")
    assert cpu.bf16_is_faster(tmp_path / "new") is faster
    assert len(measured) == 2
    assert list(json.loads((tmp_path / "new" / "cpu.json").read_text()).values()) == [[ratio]]


def test_without_the_instructions_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert cpu.bf16_is_faster(tmp_path) is False
    assert not list(tmp_path.iterdir())


def test_a_measurement_is_a_ratio_and_leaves_the_threads():
    threads = torch.get_num_threads()
    assert 0.05 < cpu.measure_bf16() < 20
    assert torch.get_num_threads() == threads
