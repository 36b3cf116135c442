"""What `serve` says to its flags, without a server being started."""

import pytest


def test_help_shows_every_flag_and_exits_0(run_serve):
    done = run_serve("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for flag in ("--host", "--port", "--durability", "--max-memory", "--udp-plain", "--log-file"):
        assert flag in done.stdout
    assert run_serve("-h").stdout == done.stdout


def test_version_is_one_line(run_serve):
    done = run_serve("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("serve ") and done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--prot", "1"], "unknown flag --prot"),
        (["-x"], "unknown flag -x"),
        (["-p"], "-p needs a value"),
        (["-p", "65536"], "--port must be a whole number from 0 to 65535"),
        (["-p", "http"], "--port must be a whole number"),
        (["--tcp=yes"], "--tcp takes no value"),
        (["-l", "loud"], "--log must be error, info or debug"),
        (["--durability", "sometimes"], "--durability must be always, every-second or never"),
        (["--max-value", "1gb"], "--max-value must be from 1 to 512mb"),
        (["--max-value", "many"], "--max-value must be a size"),
        (["--max-memory", "1"], "--max-memory must be at least 1mb"),
        (["--max-connections", "0"], "--max-connections must be"),
        (["--outcomes-age", "0s"], "--outcomes-age must be"),
        (["--data", ""], "--data needs a directory"),
        (["start"], 'unknown command "start"'),
        (["check"], "check needs one directory"),
        (["dump", "a", "b"], "dump needs one directory"),
    ],
)
def test_a_wrong_command_line_exits_2_with_one_sentence(run_serve, arguments, phrase):
    done = run_serve(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("serve: ") and phrase in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_environment_is_read_and_flags_precede_it(run_serve):
    done = run_serve(environment={"SERVE_PORT": "x"})
    assert done.returncode == 2 and "--port must be" in done.stderr
    done = run_serve("--version", environment={"SERVE_PORT": "x"})
    assert done.returncode == 0
    done = run_serve("-l", "loud", environment={"SERVE_LOG": "info"})
    assert done.returncode == 2


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["-s", "0.0.0.0"], "without a password"),
        (["-s", "127.0.0.1", "-s", "::"], "without a password"),
        (["--password-file", "/nonexistent"], "cannot read the password file"),
        (["--log-file", "/nonexistent/log"], "cannot open the log file"),
    ],
)
def test_an_unsafe_or_impossible_configuration_exits_78(run_serve, folder, arguments, phrase):
    done = run_serve("-p", "0", "--data", folder / "data", *arguments)
    assert done.returncode == 78
    assert phrase in done.stderr


def test_plain_datagrams_and_a_password_exclude_each_other(run_serve, folder):
    (folder / "password").write_text("$6$saltsalt$abc\n")
    done = run_serve("-p", "0", "-u", "--udp-plain", "--password-file", folder / "password")
    assert done.returncode == 78
    assert "--udp-plain cannot be combined" in done.stderr


@pytest.mark.parametrize("text", ["", "\n", "secret\n", "$9$unknown$hash\n"])
def test_a_password_file_without_a_usable_hash_exits_78(run_serve, folder, text):
    (folder / "password").write_text(text)
    done = run_serve("-p", "0", "--data", folder / "data", "--password-file", folder / "password")
    assert done.returncode == 78
    assert "password file" in done.stderr


def test_an_address_that_does_not_resolve_exits_71(run_serve, folder):
    done = run_serve("-p", "0", "--data", folder / "data", "--insecure", "-s", "no.such.invalid")
    assert done.returncode == 71
    assert "no.such.invalid" in done.stderr


def test_an_address_of_another_machine_exits_71(run_serve, folder):
    done = run_serve("-p", "0", "--data", folder / "data", "--insecure", "-s", "192.0.2.1")
    assert done.returncode == 71
    assert "192.0.2.1" in done.stderr
