"""`serve check` and `serve dump`, and what a start says to a damaged directory."""

import json
import random

import pytest
from serve_runs import run_to_end

KEYS = 300


@pytest.fixture
def data(serve, folder):
    """A directory that a server filled and closed in order."""
    server = serve()
    with server.connect() as client:
        for number in range(KEYS):
            assert client("SET", f"key{number}", f"value{number}") == "OK"
        client("SET", b"\xff\x00", b"\xfe")
        client("DEL", "key0")
    assert server.stop() == 0
    return folder / "data"


def segments(data):
    return sorted(data.glob("log-*"))


def written(data):
    """The places of the bytes of the first segment that are not zero."""
    content = segments(data)[0].read_bytes()
    return [offset for offset, byte in enumerate(content) if byte]


def flip(path, offset, bit=0):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def snapshot(data):
    return {file.name: file.read_bytes() for file in data.iterdir()}


def test_check_finds_nothing_after_a_stop_in_order(data):
    before = snapshot(data)
    done = run_to_end("check", data)
    assert done.returncode == 0, done.stdout
    assert "nothing wrong" in done.stdout
    assert snapshot(data) == before


def test_check_places_every_flipped_byte_it_is_shown(data):
    segment = segments(data)[0]
    original = segment.read_bytes()
    random.seed(11)
    places = random.sample(written(data), 40) + random.sample(range(len(original)), 10)
    for place in places:
        flip(segment, place, random.randrange(8))
        done = run_to_end("check", data)
        assert done.returncode == 65, (place, done.stdout)
        assert done.stdout.startswith(f"{segment.name}: offset "), done.stdout
        found = int(done.stdout.split("offset ")[1].split(",")[0])
        assert found <= place
        segment.write_bytes(original)


def test_a_start_on_a_damaged_log_exits_65_and_says_where(launch, data):
    segment = segments(data)[0]
    places = written(data)
    flip(segment, places[len(places) // 2])
    before = snapshot(data)
    server = launch()
    assert server.wait() == 65
    assert segment.name in server.log
    assert "offset" in server.log and "log sequence number" in server.log
    assert "serve check" in server.log and "let it join anew" in server.log
    assert snapshot(data) == before


def test_a_newer_format_exits_66(launch, data):
    segment = segments(data)[0]
    content = bytearray(segment.read_bytes())
    content[8:12] = (99).to_bytes(4, "little")
    header = bytes(content[0:12]) + bytes(content[16:64])
    content[12:16] = crc32c(header).to_bytes(4, "little")
    segment.write_bytes(content)
    assert launch().wait() == 66
    assert run_to_end("check", data).returncode == 66


def test_a_missing_segment_exits_65(launch, serve, data):
    server = serve()
    with server.connect() as client:
        for number in range(40):
            client("SET", f"large{number}", b"x" * 100_000)
    assert server.stop() == 0
    assert len(segments(data)) > 2
    segments(data)[0].unlink()
    assert run_to_end("check", data).returncode == 65
    assert launch().wait() == 65


def test_dump_prints_every_change_as_json(data):
    done = run_to_end("dump", data)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    puts = {line["key"]: line for line in lines if line.get("change") == "put" and "key" in line}
    assert set(puts) == {f"key{number}" for number in range(KEYS)}
    assert puts["key7"]["value"] == "value7"
    assert any(line.get("change") == "put" and "keyBase64" in line for line in lines)
    assert any(line.get("change") == "delete" and line.get("key") == "key0" for line in lines)
    assert lines[-1].get("close") is True or any(line.get("close") for line in lines)


def test_dump_goes_on_behind_damage(data):
    places = written(data)
    flip(segments(data)[0], places[len(places) // 2])
    done = run_to_end("dump", data)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("error" in line for line in lines)
    assert sum(line.get("change") == "put" for line in lines) > KEYS / 3


def test_check_does_not_praise_a_directory_without_data(folder):
    done = run_to_end("check", folder)
    assert done.returncode == 65
    assert "holds no data" in done.stdout
    assert not list(folder.iterdir())


@pytest.mark.parametrize("word", ["check", "dump"])
def test_a_directory_in_use_exits_73(serve, folder, word):
    serve()
    done = run_to_end(word, folder / "data")
    assert done.returncode == 73
    assert "in use" in done.stderr


@pytest.mark.parametrize("word", ["check", "dump"])
def test_a_directory_that_is_not_there_exits_74(folder, word):
    assert run_to_end(word, folder / "nothing").returncode == 74


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
