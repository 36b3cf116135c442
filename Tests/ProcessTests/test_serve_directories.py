"""Who comes under a member's id with another data directory, or beside it: real processes."""

import shutil

import processes
import pytest
import serve_runs
import test_serve_membership


@pytest.fixture(params=[[], ["-u"]], ids=["tcp", "udp"])
def cluster(request, launch, folder):
    made = test_serve_membership.Cluster(launch, folder, flags=request.param)
    made.wait_until_whole()
    return made


@pytest.mark.parametrize("lost", [1, 2])
def test_a_member_that_has_lost_its_directory_joins_anew(cluster, folder, lost):
    cluster.set_until_done(3, "a", "1")
    for run in cluster.runs.values():
        # What was learned is kept over restarts.
        run.kill()
    shutil.rmtree(folder / f"data{lost}")
    for number in cluster.ports:
        cluster.start(number)
    other = 2 if lost == 1 else 1
    refused = "its data directory is not the one that this member had"
    cluster.runs[lost].wait_for(rf"member 3 \(.*\) refused this one: {refused}")
    cluster.runs[3].wait_for(rf"refused member {lost} \(.*\): {refused}")
    assert "UNAVAILABLE" in cluster.call(lost, "GET a")
    assert "UNAVAILABLE" in cluster.call(3, "SET b 2")
    assert f"member{lost}" in cluster.info(3)
    assert "state=refused" in cluster.info(3)[f"member{lost}"]
    remove = ["-o", "remove", "--node", str(lost), "--force", "--i-have-stopped-it"]
    # Not while it may have been heard a moment ago, by the run of before.
    serve_runs.wait_until(lambda: cluster.clie(3, *remove).returncode == 0)
    # It hears that it is out.
    assert cluster.runs[lost].wait() == 0
    cluster.set_until_done(other, "b", "2")
    shutil.rmtree(folder / f"data{lost}")
    again = cluster.start_again(lost, "-m", "127.0.0.1", "-q", cluster.ports[3])
    again.wait_for("joined the cluster as member")
    cluster.wait_for_members((1, 2, 3), 3)
    for number in cluster.ports:
        assert cluster.get(number, "a") == "1"
        assert cluster.get(number, "b") == "2"
    cluster.set_until_done(lost, "c", "3")


def test_a_copy_of_a_member_is_kept_out_while_the_member_is_there(cluster, folder):
    cluster.set_until_done(3, "a", "1")
    shutil.copytree(folder / "data1", folder / "copy")
    port = processes.free_port()
    twin = cluster.launch(
        "--data", folder / "copy", "-p", port, "--secret-file", folder / "secret1", *cluster.flags)
    twin.ready().wait_for(
        r"member 2 \(.*\) refused this one: another process of this member is there")
    for number in range(20):
        cluster.set_until_done(1 + number % 3, f"k{number}", number)
    for number in range(20):
        assert {cluster.get(member, f"k{number}") for member in (1, 2, 3)} == {str(number)}
    cluster.ports["twin"] = port
    assert "UNAVAILABLE" in cluster.call("twin", "GET a")
    assert "another process" not in cluster.runs[1].log
