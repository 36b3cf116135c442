"""redis-py, the Python client, over RESP2 and RESP3."""

import asyncio
import threading
import time

import pytest
import redis
import redis.asyncio


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(request, port):
    with redis.Redis(port=port, protocol=request.param) as client:
        yield client


def test_ping_echo_and_time(client):
    assert client.ping() is True
    assert client.echo("hello") == b"hello"
    seconds, micros = client.time()
    assert abs(seconds - time.time()) < 5 and 0 <= micros < 1_000_000


def test_set_and_get_any_bytes(client):
    every_byte = bytes(range(256))
    assert client.set(every_byte, every_byte * 5) is True
    assert client.get(every_byte) == every_byte * 5
    assert client.get("absent") is None
    assert client.set("empty", b"") and client.get("empty") == b""
    assert client.strlen("empty") == 0


def test_large_values_come_back_whole(client):
    value = bytes(range(256)) * 4096 * 10  # 10 MiB
    client.set("large", value)
    assert client.get("large") == value
    assert client.getrange("large", 1_000_000, 1_000_255) == value[1_000_000:1_000_256]


def test_set_options(client):
    assert client.set("k", "1", nx=True) is True
    assert client.set("k", "2", nx=True) is None
    assert client.set("absent", "2", xx=True) is None
    assert client.set("k", "2", xx=True, get=True) == b"1"
    client.set("k", "3", ex=100)
    assert 98 <= client.ttl("k") <= 100
    client.set("k", "4", keepttl=True)
    assert client.ttl("k") >= 98
    client.set("k", "5")
    assert client.ttl("k") == -1
    client.set("k", "6", px=100_000)
    assert 99_000 <= client.pttl("k") <= 100_000
    client.set("k", "7", exat=int(time.time()) + 50)
    assert 48 <= client.ttl("k") <= 50
    client.set("k", "8", pxat=int(time.time() * 1000) - 1)
    assert client.get("k") is None


def test_variants_of_get(client):
    client.set("k", "v")
    assert client.getset("k", "w") == b"v"
    assert client.getex("k", ex=50) == b"w"
    assert 48 <= client.ttl("k") <= 50
    assert client.getex("k", persist=True) == b"w"
    assert client.ttl("k") == -1
    assert client.getdel("k") == b"w"
    assert client.getdel("k") is None
    assert client.ttl("k") == -2
    assert client.setnx("k", "1") is True and client.setnx("k", "2") is False
    assert client.setex("k", 10, "v") is True and client.psetex("k", 10_000, "v") is True


def test_counters(client):
    assert client.incr("n") == 1
    assert client.incrby("n", 41) == 42
    assert client.decr("n") == 41
    assert client.decrby("n", 50) == -9
    assert client.incrbyfloat("f", 10.5) == 10.5
    assert client.incrbyfloat("f", "0.1") == 10.6
    client.set("text", "abc")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("text")
    with pytest.raises(redis.ResponseError, match="value is not a valid float"):
        client.incrbyfloat("text", 1)
    client.set("most", 2**63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        client.incr("most")


def test_several_keys_at_once(client):
    assert client.mset({"a": 1, "b": 2, "c": 3}) is True
    assert client.mget("a", "b", "absent", "c") == [b"1", b"2", None, b"3"]
    assert client.msetnx({"c": 0, "d": 0}) is False
    assert client.exists("d") == 0
    assert client.msetnx({"d": 4, "e": 5}) is True
    assert client.exists("a", "b", "a", "absent") == 3
    assert client.touch("a", "absent") == 1
    assert client.delete("a", "b", "absent") == 2
    assert client.unlink("c", "d") == 2
    assert client.dbsize() == 1


def test_parts_of_values(client):
    assert client.append("k", "hello") == 5
    assert client.append("k", " world") == 11
    assert client.getrange("k", -5, -1) == b"world"
    assert client.substr("k", 0, 4) == b"hello"
    assert client.setrange("k", 6, "there") == 11
    assert client.get("k") == b"hello there"
    assert client.setrange("gap", 3, "x") == 4
    assert client.get("gap") == b"\0\0\0x"
    assert client.strlen("k") == 11


def test_expiry(client):
    client.set("k", "v")
    assert client.expire("k", 100) is True
    assert client.expire("k", 200, nx=True) is False
    assert client.expire("k", 50, gt=True) is False
    assert client.expire("k", 50, lt=True) is True
    assert client.expire("k", 70, xx=True) is True
    assert 68 <= client.ttl("k") <= 70
    assert client.expiretime("k") == pytest.approx(time.time() + 70, abs=2)
    assert client.pexpiretime("k") == pytest.approx((time.time() + 70) * 1000, abs=2000)
    assert client.persist("k") is True and client.persist("k") is False
    assert client.pexpire("k", 30) is True
    time.sleep(0.08)
    assert client.exists("k") == 0 and client.pttl("k") == -2
    client.set("k", "v")
    assert client.expireat("k", int(time.time()) - 10) is True
    assert client.exists("k") == 0
    assert client.expire("absent", 10) is False


def test_keys_scan_and_type(client):
    names = {f"item:{i}".encode() for i in range(500)}
    client.mset({name: 1 for name in names} | {"other": 1})
    assert set(client.keys("item:*")) == names
    assert client.keys("item:4[2-3]") in ([b"item:42", b"item:43"], [b"item:43", b"item:42"])
    assert set(client.scan_iter(match="item:*", count=7)) == names
    assert set(client.scan_iter(_type="string")) == names | {b"other"}
    assert set(client.scan_iter(_type="list")) == set()
    assert client.randomkey() in names | {b"other"}
    assert client.type("other") in (b"string", "string")
    assert client.type("absent") in (b"none", "none")


def test_rename_and_copy(client):
    client.set("a", "1", ex=100)
    assert client.rename("a", "b") is True
    assert client.exists("a") == 0 and client.ttl("b") > 90
    client.set("a", "2")
    assert client.renamenx("a", "b") is False
    assert client.renamenx("a", "c") is True
    assert client.copy("b", "d") and client.get("d") == b"1" and client.ttl("d") > 90
    assert not client.copy("c", "d")
    assert client.copy("c", "d", replace=True) and client.get("d") == b"2"
    with pytest.raises(redis.ResponseError, match="no such key"):
        client.rename("absent", "x")


def test_pipeline_without_transaction(client):
    with client.pipeline(transaction=False) as pipe:
        for index in range(2000):
            pipe.set(f"k{index}", index).get(f"k{index}")
        replies = pipe.execute()
    assert replies[0::2] == [True] * 2000
    assert replies[1::2] == [str(index).encode() for index in range(2000)]


def test_transaction(client):
    with client.pipeline() as pipe:
        assert pipe.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]


def test_watch_finds_a_change_in_between(client):
    client.set("k", "1")
    with client.pipeline() as pipe:
        pipe.watch("k")
        client.set("k", "2")
        pipe.multi()
        pipe.set("k", "3")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert client.get("k") == b"2"

    def double(pipe):
        value = int(pipe.get("k"))
        pipe.multi()
        pipe.set("k", value * 2)

    assert client.transaction(double, "k") == [True]
    assert client.get("k") == b"4"


def test_a_command_that_cannot_be_queued_aborts_the_transaction(client):
    with client.pipeline() as pipe:
        pipe.set("a", 1)
        pipe.execute_command("NO-SUCH-COMMAND")
        with pytest.raises(redis.ResponseError, match="unknown command"):
            pipe.execute()
    assert client.exists("a") == 0


@pytest.mark.ours
def test_a_transaction_with_a_failing_command_leaves_nothing(client):
    client.set("text", "abc")
    with client.pipeline() as pipe:
        pipe.set("a", 1).incr("text").set("b", 1)
        with pytest.raises(redis.ResponseError, match="not an integer"):
            pipe.execute()
    assert client.exists("a", "b") == 0


@pytest.mark.ours
def test_txmode_redis_keeps_what_came_before_a_failing_command(port):
    with redis.Redis(port=port, single_connection_client=True) as client:
        client.set("text", "abc")
        assert client.execute_command("CLIENT", "TXMODE", "redis") in (b"OK", True)
        client.execute_command("MULTI")
        client.execute_command("SET", "a", 1)
        client.execute_command("INCR", "text")
        replies = client.execute_command("EXEC")
        assert replies[0] in (b"OK", True) and isinstance(replies[1], redis.ResponseError)
        assert client.get("a") == b"1"


def test_errors_have_redis_words(client):
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        client.execute_command("GET")
    with pytest.raises(redis.ResponseError, match="unknown command 'nonsense'"):
        client.execute_command("nonsense", "a")
    with pytest.raises(redis.ResponseError, match="syntax error"):
        client.execute_command("SET", "k", "v", "NX", "XX")
    with pytest.raises(redis.ResponseError, match="invalid expire time in 'set' command"):
        client.set("k", "v", ex=0)
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        client.execute_command("SELECT", "99")
    with pytest.raises(redis.ResponseError, match="EXEC without MULTI"):
        client.execute_command("EXEC")


def test_info_and_config(client):
    info = client.info()
    assert info["redis_version"].startswith("7.0.")
    assert info["arch_bits"] in (32, 64)
    assert info["cluster_enabled"] == 0
    assert info["used_memory"] > 0
    assert client.info("server")["redis_version"] == info["redis_version"]
    client.set("a", 1)
    assert client.info("keyspace")["db0"]["keys"] == 1
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert set(client.config_get("save", "appendonly")) == {"save", "appendonly"}
    assert client.config_resetstat() is True


def test_client_names_and_list(port):
    with redis.Redis(port=port, client_name="tests", single_connection_client=True) as client:
        assert client.client_getname() in (b"tests", "tests")
        mine = client.client_id()
        entry = [one for one in client.client_list() if one["id"] == str(mine)]
        assert entry and entry[0]["name"] == "tests"
        assert client.client_info()["id"] == mine
        with redis.Redis(port=port, single_connection_client=True) as other:
            their = other.client_id()
            assert their > mine
            assert client.client_kill_filter(_id=str(their)) == 1
            with pytest.raises(redis.ConnectionError):
                other.connection.send_command("PING")
                other.connection.read_response()


def test_hello_negotiates(port):
    with redis.Redis(port=port, single_connection_client=True) as client:
        answer = client.execute_command("HELLO", "3")
        assert answer[b"proto" if b"proto" in answer else "proto"] == 3
        with pytest.raises(redis.ResponseError, match="NOPROTO"):
            client.execute_command("HELLO", "4")


def test_commands_describe_themselves(client):
    assert client.execute_command("COMMAND COUNT") > 60
    assert client.execute_command("COMMAND INFO", "get")
    assert client.execute_command("COMMAND DOCS", "get")


def test_saving(client):
    before = client.lastsave()
    for _ in range(50):
        try:
            assert client.save() is True
            break
        except redis.ResponseError as error:  # One in the background, begun by the test before.
            assert "already in progress" in str(error)
            time.sleep(0.1)
    assert client.lastsave() >= before
    try:
        assert client.bgsave()
    except redis.ResponseError as error:  # The one that SAVE began may still be running.
        assert "already in progress" in str(error)
    assert client.wait(0, 100) == 0


def test_flushing(client):
    client.mset({"a": 1, "b": 2})
    assert client.flushdb() is True and client.dbsize() == 0
    client.set("a", 1)
    assert client.flushall(asynchronous=True) is True and client.dbsize() == 0


def test_threads_share_a_pool_and_lose_no_increment(port):
    pool = redis.ConnectionPool(port=port, max_connections=8)
    failures = []

    def work():
        try:
            client = redis.Redis(connection_pool=redis.BlockingConnectionPool.from_url(
                f"redis://localhost:{port}/0", max_connections=2))
            for _ in range(200):
                client.incr("hits")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert redis.Redis(connection_pool=pool).get("hits") == b"1600"


def test_decoded_responses_and_url(port):
    client = redis.Redis.from_url(f"redis://localhost:{port}/0?decode_responses=True")
    client.set("schlüssel", "wért")
    assert client.get("schlüssel") == "wért"


def test_asyncio_client(port):
    async def work():
        pool = redis.asyncio.BlockingConnectionPool(port=port, max_connections=20)
        client = redis.asyncio.Redis(connection_pool=pool)
        await asyncio.gather(*(client.incr("n") for _ in range(300)))
        async with client.pipeline() as pipe:
            replies = await pipe.set("a", 1).get("a").execute()
        total = await client.get("n")
        await pool.disconnect()
        return total, replies

    assert asyncio.run(work()) == (b"300", [True, b"1"])


def test_reset_and_quit(port):
    with redis.Redis(port=port, single_connection_client=True) as client:
        client.execute_command("MULTI")
        assert client.execute_command("RESET") in (b"RESET", "RESET", True)
        assert client.get("absent") is None
        assert client.execute_command("QUIT") in (b"OK", True)


@pytest.mark.ours
def test_update_needs_the_key(client):
    with pytest.raises(redis.ResponseError):
        client.execute_command("UPDATE", "k", "1")
    client.set("k", "0")
    assert client.execute_command("UPDATE", "k", "1") in (b"OK", "OK", True)
    assert client.get("k") == b"1"


def new_id(millis=None):
    """A UUIDv7."""
    import os
    import uuid
    now = int(time.time() * 1000) if millis is None else millis
    number = now << 80 | int.from_bytes(os.urandom(10), "big")
    return str(uuid.UUID(int=number & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62))


@pytest.mark.ours
def test_once_executes_once_and_repeats_its_reply(client):
    mine = new_id()
    assert client.execute_command("OUTCOME", mine) in (b"never-seen", "never-seen")
    assert client.execute_command("ONCE", mine, "INCR", "n") == 1
    assert client.execute_command("ONCE", mine, "INCR", "n") == 1
    assert client.get("n") == b"1"
    assert client.execute_command("OUTCOME", mine) in (b"committed", "committed")
    sealed = new_id()
    assert client.execute_command("OUTCOME", sealed, "SEAL") in (b"aborted", "aborted")
    with pytest.raises(redis.ResponseError):
        client.execute_command("ONCE", sealed, "INCR", "n")
    assert client.get("n") == b"1"
    with pytest.raises(redis.ResponseError, match="IDFUTURE|ahead"):
        client.execute_command("ONCE", new_id(int(time.time() * 1000) + 120_000), "INCR", "n")
    with pytest.raises(redis.ResponseError, match="IDEXPIRED|horizon"):
        client.execute_command("ONCE", new_id(int(time.time() * 1000) - 90_000_000), "INCR", "n")
    assert client.get("n") == b"1"


@pytest.mark.ours
def test_cas_compares_versions(client):
    client.set("k", "1")
    value, version = client.execute_command("GETV", "k")
    assert value == b"1" and version > 0
    newer = client.execute_command("CAS", "k", version, "2")
    assert newer > version
    assert client.execute_command("GETV", "k") == [b"2", newer]
    assert client.execute_command("CAS", "k", version, "3") is None
    assert client.get("k") == b"2"
    assert client.execute_command("CAS", "new", 0, "1") > newer
    assert client.execute_command("CAS", "new", 0, "2") is None
    assert client.execute_command("GETV", "absent") is None
