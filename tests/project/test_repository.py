"""What is committed: nothing unfinished, no registry's address, no developer's path, no secret, nothing unexpected."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

EXPECTED_TOP_LEVEL = {
    ".ci",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "config",
    "decoders",
    "docs",
    "gateway",
    "pyproject.toml",
    "requirements",
    "systemd",
    "tests",
    "tools",
}

# The patterns are put together from pieces, so that this file is held to them too.
UNFINISHED = re.compile("|".join((r"\bTO" + "DO", r"\bFIX" + "ME", r"\bX" + "XX\b")))
REGISTRY = re.compile(
    "|".join(
        (
            "py" + r"pi\.(org|python)",
            "python" + r"hosted\.org",
            "--(extra-)?index" + "-url[ =]",
            "--find" + "-links[ =]",
            r"//[^\s/]+/" + "simple/?(\\s|$)",
            "npm" + r"js\.(org|com)",
            "crates" + r"\.io",
        )
    )
)
DEVELOPER_PATH = re.compile(
    "|".join(("/ho" + r"me/\w+/", "/Us" + r"ers/\w+/", "/ro" + "ot/", r"(?<![\w.])/wo" + "rk/"))
)
SECRET_NAME = re.compile(r"(^|/)(\.env|\.netrc|\.pypirc|id_(rsa|ecdsa|ed25519)|[^/]*\.(key|pem|p12|pfx|jks))$")
SECRET_TEXT = re.compile("-----BEGIN " + r"[A-Z ]*PRIVATE KEY")

#: licences of telegrams that the product may carry; a constructed one, or a bare fact, has none
PERMISSIVE = re.compile(
    r"(MIT|ISC|Apache-2\.0|BSD-[23]-Clause|0BSD|CC0)\b|(none \()?(constructed|construction|mutation|fact)\b"
)


@pytest.fixture(scope="module")
def committed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every path that git tracks; in an unpacked archive, every path that git would not ignore."""
    git = ["git", "-c", "safe.directory=*"]
    listing = [*git, "ls-files", "-z"]
    if not (checkout / ".git").exists():
        empty = tmp_path_factory.mktemp("git")
        subprocess.run([*git, "init", "--quiet", "--bare", empty], timeout=60, check=True)
        work = [f"--git-dir={empty}", f"--work-tree={checkout}"]
        listing = [*git, *work, "ls-files", "-z", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=checkout, capture_output=True, text=True, timeout=60, check=True)
    return [path for path in done.stdout.split("\0") if path and (checkout / path).is_file()]


@pytest.fixture(scope="module")
def texts(checkout: Path, committed: list[str]) -> dict[str, str]:
    """The text of every tracked file that a person wrote; telegrams and corpus cases are data of others."""
    data = ("tests/corpus/", "config/profiles/frames/", "tests/hubs/samples/cz/pnd-simplified.csv")
    written = [
        path for path in committed if not path.startswith(data) and not path.endswith((".png", ".bin", ".p1", ".db"))
    ]
    assert len(written) > 20, "git tracks next to nothing here: this test looks at nothing"
    return {path: (checkout / path).read_text(encoding="utf-8") for path in written}


def found(pattern: re.Pattern[str], texts: dict[str, str]) -> Iterator[str]:
    """Place and line of each match."""
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{path}:{number}: {line.strip()[:120]}"


def test_nothing_is_unfinished(texts: dict[str, str]) -> None:
    """But for what others left open in schemas that are copied as they were published."""
    ours = {path: text for path, text in texts.items() if not path.startswith("docs/schemas/hubs/")}
    assert list(found(UNFINISHED, ours)) == []


def test_no_address_of_a_package_registry(texts: dict[str, str]) -> None:
    assert list(found(REGISTRY, texts)) == []


def test_no_path_of_a_developers_machine(texts: dict[str, str]) -> None:
    """The published schemas are copied as they are, with the ids that their publishers gave them."""
    ours = {path: text for path, text in texts.items() if not path.startswith("docs/schemas/hubs/")}
    assert list(found(DEVELOPER_PATH, ours)) == []


def test_no_secret(committed: list[str], texts: dict[str, str]) -> None:
    assert [path for path in committed if SECRET_NAME.search(path)] == []
    assert list(found(SECRET_TEXT, texts)) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (UNFINISHED, "# TO" + "DO later"),
        (UNFINISHED, "# FIX" + "ME"),
        (REGISTRY, "https://files.python" + "hosted.org/packages/x.whl"),
        (REGISTRY, "https://py" + "pi.org/project/meterd"),
        (REGISTRY, "--extra-index" + "-url=http://mirror"),
        (REGISTRY, "http://mirror.local/" + "simple"),
        (DEVELOPER_PATH, "see /ho" + "me/ada/meterd"),
        (DEVELOPER_PATH, "'/Us" + "ers/ada/meterd'"),
        (DEVELOPER_PATH, "cd /wo" + "rk/main"),
        (SECRET_NAME, "config/meter.key"),
        (SECRET_NAME, "tests/.env"),
        (SECRET_TEXT, "-----BEGIN " + "EC PRIVATE KEY-----"),
    ],
)
def test_what_must_not_be_committed_is_noticed(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


def test_top_level_holds_what_is_expected(committed: list[str]) -> None:
    assert {path.partition("/")[0] for path in committed} == EXPECTED_TOP_LEVEL


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"])
def test_a_stranger_finds_what_projects_have(checkout: Path, name: str) -> None:
    assert len((checkout / name).read_text().split()) > 100


def test_links_between_pages_lead_somewhere(checkout: Path, texts: dict[str, str]) -> None:
    pages = {path: text for path, text in texts.items() if path.endswith(".md")}
    links = [(path, link) for path, text in pages.items() for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)]
    assert links, "no page links to another: this test looks at nothing"
    assert [f"{path}: {link}" for path, link in links if not (checkout / path).parent.joinpath(link).exists()] == []


def test_changelog_knows_this_version(checkout: Path) -> None:
    headings = re.findall(r"^## \[(.+?)\]", (checkout / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", heading) for heading in headings[1:])


def test_decisions_are_numbered_and_told(checkout: Path) -> None:
    records = sorted((checkout / "docs" / "decisions").glob("*.md"))
    numbers = [path.name[:4] for path in records if path.name != "README.md"]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_telegrams_state_source_and_licence(checkout: Path, committed: list[str]) -> None:
    stated = [*corpus_copies(checkout, committed), *profile_frames(checkout)]
    assert stated, "no telegram is committed: this test looks at nothing"
    assert [place for place, row in stated if not row.get("source")] == []
    assert [f"{place}: {row.get('licence')}" for place, row in stated if not PERMISSIVE.match(row["licence"])] == []


@pytest.mark.parametrize("licence", ["GPL-3.0", "EPL-1.0", "CC-BY-NC-4.0", "none", "proprietary", ""])
def test_other_licences_are_refused(licence: str) -> None:
    assert not PERMISSIVE.match(licence)


def corpus_copies(checkout: Path, committed: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each case of tests/corpus."""
    for path in committed:
        if path.startswith("tests/corpus/") and path.endswith(".jsonl"):
            rows = map(json.loads, (checkout / path).read_text().splitlines())
            yield from ((f"{path} {row['id']}", row) for row in rows)


def profile_frames(checkout: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each frame of a profile."""
    for path in sorted((checkout / "config" / "profiles").glob("*.toml")):
        yield from ((f"{path.name} {frame['file']}", frame) for frame in tomllib.loads(path.read_text())["frame"])
