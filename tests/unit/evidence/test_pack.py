"""A pack says what the record says, can be checked by whoever has only it, and is the same each time."""

from __future__ import annotations

import asyncio
import json
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from doorward.adapters.blobs.packs import PackFolder
from doorward.adapters.blobs.paper import pdf
from doorward.cli.main import run
from doorward.evidence.controls import CONTROLS, TESTS
from doorward.evidence.controls.privileged import asked, ran, settled, spent, voted
from doorward.evidence.examination import Result, Tally, rehearse
from doorward.evidence.summary import summary
from doorward.evidence.table import Planted
from doorward.model import Checkpoint
from tests.rig.history import recorded
from tests.rig.packs import Pack, check
from tests.rig.verifier import PROGRAM, VERIFIER

WHO, OTHER = "https://idp.test|bot", "https://idp.test|dora"
REFUSED = Planted(
    "operation.refused",
    {"operation": "op-2", "action": "DROP TABLE", "effect": "define", "text": "=drop, \"table\"\nshop", "resources":
     [["table", "shop.public.items", "define"]], "decision": {"outcome": "deny", "rules": ["no"], "policy": "ff"},
     "code": "denied", "reason": "policy does not allow this"},
    WHO, "s",
)  # fmt: skip
HISTORY = (
    asked(exp=2**52), voted(OTHER), spent(), ran(approval="planted"), settled(), REFUSED,
    Planted("recording.viewed", {"session": "x"}, OTHER),
    Planted("break_glass.used", {"approval": "g", "target": "shop", "reason": "fire", "actions": ["write"],
                                 "limits": {"minutes": 30}, "skipped": ["dba"], "until": 1}, WHO),
    Planted("record.failed", {"failed_at": 5, "reason": "full"}),
    Planted("record.restored", {"failed_at": 5, "restored_at": 9}),
    *[Planted("log.beat", {"sessions": 1, "backlog": 0})] * 300,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pack") / "data"
    directory.mkdir(mode=0o700)
    asyncio.run(recorded(directory, HISTORY, sessions=3))
    return directory


def made(data: Path, out: Path, *more: str) -> Path:
    paper = () if "--pdf" in more else ("--no-pdf",)
    assert run(["evidence", "pack", str(data), "--out", str(out), "--auditor", "Ms Auditor", *more, *paper]) == 0
    return next(each for each in out.iterdir() if each.is_dir())


@pytest.fixture(scope="module")
def pack(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = made(data, tmp_path_factory.mktemp("out"), "--recordings", "--pdf")
    return check(folder, (data / "log" / "vkey").read_text().strip())


def test_a_pack_holds(pack: Pack) -> None:
    """Manifest, log, openings, tables and population agree, for a reader who follows the specification."""
    assert pack.faults == []


def test_everything_that_happened_is_in_a_table(pack: Pack) -> None:
    """Sessions, the operation, its approval, the refusal, the broken glass, the view, the failure."""
    tables = pack.tables
    assert [row["state"] for row in tables["sessions"]] == ["closed"] * 3
    assert [(row["privileged"], row["approvals"]) for row in tables["sessions"]].count((1, ["planted"])) == 1
    (operation,) = tables["operations"]
    assert (operation["outcome"], operation["approval"], operation["resource"]) == ("completed", "planted", "shop")
    (approval,) = tables["approvals"]
    assert (approval["final"], approval["approved_by"]) == ("used", [OTHER])
    assert (approval["sod_ok"], approval["order_ok"], approval["in_time"]) == (True, True, True)
    assert approval["exec_leaf"] == operation["leaf_index"]
    (denial,) = tables["denials"]
    assert (denial["text"], denial["rules"], denial["resource"]) == ('=drop, "table"\nshop', ["no"], "shop")
    assert [row["review"] for row in tables["breakglass"]] == [""]
    assert [row["viewer"] for row in tables["log_access"]] == [OTHER]
    assert [row["kind"] for row in tables["log_failures"]] == ["not recording", "recording again"]
    assert sum(row["leaf_count"] for row in tables["log_integrity"]) == pack.manifest["size"]


def test_a_cell_that_a_spreadsheet_would_run_is_text(pack: Pack) -> None:
    """A statement that begins with = is not a formula in the CSV, and is itself in the JSONL."""
    assert b'"\'=drop, ""table""\nshop"' in (pack.folder / "tables/denials.csv").read_bytes()


def test_the_sample_is_the_one_that_the_seed_draws(pack: Pack) -> None:
    """Anybody computes seed and ranks again; each sampled row has a proof of each leaf that it rests on."""
    said = pack.json("samples/sample.json")
    checkpoint = (pack.folder / "log/checkpoint.end").read_bytes()
    seed = sha256(
        b"doorward/sample/v1\0"
        + (10).to_bytes(4, "big")
        + b"Ms Auditor"
        + sha256(checkpoint).digest()
        + sha256(b"").digest()
    ).digest()
    assert said["seed"] == seed.hex()
    for sample in said["samples"]:
        rows = pack.tables[sample["table"]]
        ranked = sorted(rows, key=lambda row: sha256(seed + bytes.fromhex(row["leaf_hash"])).digest())
        assert sample["leaves"] == [row["leaf_index"] for row in ranked[: sample["k"]]]
        assert sample["population"] == len(rows)
        for place, row in enumerate(ranked[: sample["k"]], 1):
            folder = pack.folder / "samples" / sample["control"] / f"{sample['table']}-{place}"
            assert json.loads((folder / "row.json").read_bytes()) == row
            proof = (folder / f"{row['leaf_index']}.tlog-proof").read_bytes()
            assert proof.startswith(b"c2sp.org/tlog-proof@v1\nextra ")
            assert proof.endswith(checkpoint)
            assert (folder / "recording.key").exists() == (sample["table"] == "sessions")


def test_it_is_made_again_byte_for_byte(data: Path, pack: Pack, tmp_path: Path) -> None:
    """From the same record, period and checkpoint: folder and zip, and the zip has the folder's files in the said order."""
    first = made(data, tmp_path / "one", "--recordings", "--pdf")
    again = made(data, tmp_path / "two", "--recordings", "--pdf", "--checkpoint", str(pack.folder / "log/checkpoint.end"))
    assert first.with_name(first.name + ".zip").read_bytes() == again.with_name(again.name + ".zip").read_bytes()
    assert (first / "manifest.note").read_bytes() == (pack.folder / "manifest.note").read_bytes()
    with zipfile.ZipFile(first.with_name(first.name + ".zip")) as archive:
        names = [name.removeprefix(first.name + "/") for name in archive.namelist()]
        assert names == ["manifest.json", "manifest.note", *(each["path"] for each in pack.manifest["files"])]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert all(archive.read(f"{first.name}/{name}") == (first / name).read_bytes() for name in names)


def test_what_is_there_is_not_overwritten(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second pack of the same name is an error that says what to do."""
    made(data, tmp_path, "--no-zip")
    assert run(["evidence", "pack", str(data), "--out", str(tmp_path), "--no-zip", "--no-pdf"]) == 3
    assert "is there already" in capsys.readouterr().err


def test_oscal_says_what_the_tests_found(pack: Pack) -> None:
    """Each control is reviewed; a finding follows its tests; what is not evidenced has none; references point somewhere."""
    document = pack.json("oscal/assessment-results.json")["assessment-results"]
    assert document["metadata"]["oscal-version"].startswith("1.2")
    resources = {each["uuid"] for each in document["back-matter"]["resources"]}
    assert document["import-ap"]["href"].removeprefix("#") in resources
    results = {each["title"].split()[0]: each for each in document["results"]}
    assert list(results) == pack.manifest["controls"]
    failed = {each["test"] for each in pack.json("tests.json")["tests"] if each["failed"]}
    assert failed
    ids = [document["uuid"], *resources]
    for result in results.values():
        ids.append(result["uuid"])
        seen = set()
        for observation in result.get("observations", []):
            ids.append(observation["uuid"])
            seen.add(observation["uuid"])
            for evidence in observation["relevant-evidence"]:
                assert (pack.folder / "oscal" / evidence["href"]).resolve().is_file()
        named = {prop["value"] for o in result.get("observations", []) for prop in o["props"] if prop["name"] == "test"}
        for finding in result.get("findings", []):
            ids.append(finding["uuid"])
            state = finding["target"]["status"]["state"]
            assert state == ("not-satisfied" if named & failed else "satisfied")
            assert {each["observation-uuid"] for each in finding["related-observations"]} == seen
    assert len(set(ids)) == len(ids)
    assert "findings" not in results["A.8.32"]  # nothing defined anything


def test_every_opened_event_of_the_period_is_an_ocsf_event(pack: Pack) -> None:
    """One for each opening of the period, with its place in the log."""
    lines = [json.loads(line) for line in (pack.folder / "ocsf/events.jsonl").read_bytes().splitlines()]
    assert [each["metadata"]["sequence"] for each in lines] == sorted(pack.openings)
    assert {each["metadata"]["version"] for each in lines} == {"1.8.0"}


def test_the_verifier_comes_with_it(pack: Pack) -> None:
    """The one file, as it is in the repository."""
    assert (pack.folder / "verify/doorward_verify.py").read_bytes() == PROGRAM.read_bytes()


def test_a_stranger_finds_it_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The independent verifier, given the pack, the key and a checkpoint kept elsewhere; not so when a byte of a table is
    another, whoever signed the manifest again."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    asyncio.run(recorded(data, [REFUSED, Planted("recording.viewed", {"session": "x"}, OTHER)]))
    folder = made(data, tmp_path / "out", "--recordings")
    policy, kept = (data / "log/vkey").read_text(), (data / "log/checkpoint").read_bytes()
    assert not (folder / "log/kept").exists()
    (data / "log/witnessed").write_bytes(kept)  # as if the quorum had just cosigned it
    assert (made(data, tmp_path / "seen", "--no-zip") / "log/kept/witnessed").read_bytes() == kept
    report = VERIFIER.check(str(folder.with_name(folder.name + ".zip")), policy, [("kept", kept)], b"")
    assert (report.faults, report.gaps) == ([], [])
    table = folder / "tables/denials.jsonl"
    table.write_bytes(table.read_bytes().replace(b"DROP", b"dROP"))
    assert VERIFIER.check(str(folder), policy, [("kept", kept)], b"").faults


def test_one_control_in_the_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rows, its tests, its exceptions and what is outside; exit code 1 where there are exceptions."""
    assert run(["evidence", "show", "A.8.3", "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "DROP TABLE" in shown
    assert "operations.ruled" in shown
    assert "Outside the log" in shown
    assert run(["evidence", "show", "5.16", "--data", str(data), "--json"]) == 1
    (control,) = json.loads(capsys.readouterr().out)["controls"]
    assert control["exceptions"][0]["test"] == "identities.owner"
    assert run(["evidence", "show", "--data", str(data), "--from", "2020-01-01", "--to", "2020-02-01"]) == 0
    assert capsys.readouterr().out.count("not evidenced") == len(CONTROLS)
    assert run(["evidence", "show", "A.9.9", "--data", str(data)]) == 1
    assert "there are A.5.3" in capsys.readouterr().err


def test_a_pack_says_that_its_tests_can_fail(pack: Pack) -> None:
    """Each test was shown its violation when the pack was made, and made an exception of it."""
    said = pack.json("tests.json")
    assert said["totals"]["synthetic_failed"] == said["totals"]["tests"] == len(TESTS)
    assert {each["test"] for each in said["tests"] if each["synthetic_failed"]} == set(TESTS)


@pytest.mark.parametrize("after", [0, 1, 7, 40])
def test_a_pack_that_cannot_be_written_is_none(
    after: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills up at any file leaves no pack and no part of one; the next attempt, with room, makes it whole, also
    over what somebody who was killed left behind."""
    create, count = PackFolder.create, 0

    def full(self: PackFolder, path: str) -> Path:
        nonlocal count
        count += 1
        if count > after:
            raise OSError(28, "No space left on device", path)
        return create(self, path)

    monkeypatch.setattr(PackFolder, "create", full)
    assert run(["evidence", "pack", str(data), "--out", str(tmp_path), "--no-pdf"]) == 6
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    made(data, tmp_path / "first", "--no-zip")
    name = next((tmp_path / "first").iterdir()).name
    (tmp_path / "second" / f"{name}.partial" / "log").mkdir(parents=True)
    (tmp_path / "second" / f"{name}.partial" / "log" / "stray").write_bytes(b"killed here")
    folder = made(data, tmp_path / "second", "--no-zip")
    assert (folder / "manifest.json").read_bytes() == (tmp_path / "first" / name / "manifest.json").read_bytes()
    assert not (folder / "log/stray").exists()


def test_the_tests_are_tested(capsys: pytest.CaptureFixture[str]) -> None:
    """`self-test` catches every made-up violation."""
    assert run(["evidence", "self-test", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["test"] for each in found} == set(TESTS)
    assert all(each["caught"] and each["synthetic"] for each in found)


def test_each_control_has_a_summary_on_paper(pack: Pack) -> None:
    """A PDF that says of itself that it is PDF/A-2b."""
    for control in CONTROLS:
        octets = (pack.folder / f"summaries/{control.id}.pdf").read_bytes()
        assert octets.startswith(b"%PDF-")
        assert b"pdfaid" in octets


@pytest.mark.parametrize("words", ['#read("/etc/passwd")', '"]) #panic()', "\\u{41}*_$[", "\u202e\x00\n= x"])
def test_no_text_of_the_record_is_a_command_on_paper(words: str) -> None:
    """Whatever a client writes is set as it is: nothing of it is read as markup, and no file is."""
    test = TESTS["alerts.delivered"]
    event = Planted("notification.dropped", {"channel": words, "kind": words, "count": 2, "reason": words})
    examination = rehearse(test, [event])
    control = next(each for each in CONTROLS if test in each.tests)
    assert examination.exceptions
    for name in {*(table.name for table in control.tables), *control.also} - set(examination.tallies):
        examination.tallies[name] = Tally()
    for each in control.tests:
        examination.results.setdefault(each.id, Result(each))
    source = summary(examination, control, Checkpoint("doorward.test/log", 1, bytes(32), ()))
    assert pdf(source, 1_790_000_000_000).startswith(b"%PDF-")
