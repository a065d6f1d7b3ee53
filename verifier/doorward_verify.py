#!/usr/bin/env python3
"""Checks a Doorward record or evidence pack with public keys only, on a machine without Doorward.

    python doorward_verify.py PATH --trust POLICY [--kept CHECKPOINT ...] [--tsa ROOTS.pem]

PATH is a pack (a folder or a zip), or a copy of a data directory with log/ and recordings/. POLICY is a C2SP tlog-policy, or one
verifier key. A CHECKPOINT is one that was kept elsewhere: without one nobody can tell a log from an earlier state of itself.
Exit code 0: sound. 1: broken, and where. 2: incomplete: nothing contradicts it, and something could not be checked.

Written from docs/spec/ (ledger, recording, approval, pack), not from Doorward's code; the two are held against each other. Needs
Python 3.9 and `cryptography`. What it reads is taken to be hostile: sizes are known before anything is read, links are not
followed, nothing is written. In this order: what does not hold, bytes and files, keys and trees, the log, recordings, votes,
time stamps, the pack.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import stat
import struct
import sys
import uuid
import zipfile
import zlib
from collections import Counter, namedtuple
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

try:  # only to unpack opened recordings; their ciphertext, hashes and keys are checked without
    import zstandard
except ImportError:
    zstandard = None

MIB = 1 << 20
BAD = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RuntimeError, OSError, EOFError, struct.error,
       zipfile.BadZipFile, zlib.error, InvalidSignature, InvalidTag, UnsupportedAlgorithm, x509.ExtensionNotFound,
       x509.DuplicateExtension)  # what parsing hostile bytes raises


# -- what does not hold ---------------------------------------------------------------------------------------------------------

Spot = namedtuple("Spot", "file place expected found")


class Broken(Exception):
    """Something does not hold; its argument is the Spot."""


class Gap(Broken):
    """Something could not be checked."""


class Mismatch(ValueError):
    """What was expected, and what was found; `at` says where."""


def need(ok, expected, found="something else"):
    if not ok:
        raise Mismatch(expected, found)


@contextlib.contextmanager
def at(file, place="", kind=Broken):
    """Where we are: what does not hold in here, or cannot be read, is named with it."""
    try:
        yield
    except BAD as error:
        expected, found = error.args if isinstance(error, Mismatch) else ("what docs/spec says", f"{type(error).__name__} {error}")
        raise kind(Spot(file, place, expected, str(found)[:300])) from None


class Report:
    def __init__(self):
        self.faults, self.gaps, self.counts = [], [], Counter()

    @contextlib.contextmanager
    def part(self):
        """One part of the work: the first thing in it that does not hold is noted, and ends it."""
        try:
            yield
        except Broken as broken:
            (self.gaps if isinstance(broken, Gap) else self.faults).append(broken.args[0])

    @property
    def code(self):
        return 1 if self.faults else 2 if self.gaps else 0


# -- bytes and files ------------------------------------------------------------------------------------------------------------


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64(raw):
    return base64.b64encode(raw).decode()


class Source:
    """The files of a folder or a zip, by name. Refuses names that lead elsewhere, links, and zips that blow up."""

    def __init__(self, path):
        self.sizes = {}
        with at(os.path.basename(path)):
            (self._folder if os.path.isdir(path) else self._zip)(path)

    def _folder(self, path):
        self._open = lambda name: open(os.path.join(path, name), "rb")
        for folder, folders, files in os.walk(path):
            if folder == path and "manifest.json" not in files:  # a data directory: the rest is private, and no evidence
                folders[:], files = [each for each in folders if each in ("log", "recordings")], []
            for name in folders + files:
                full = os.path.join(folder, name)
                found = os.lstat(full)
                self._add(os.path.relpath(full, path).replace(os.sep, "/"), found.st_size, found.st_mode)

    def _zip(self, path):
        archive, room = zipfile.ZipFile(path), 16 * MIB + 200 * os.path.getsize(path)
        found = [each for each in archive.infolist() if not each.is_dir()]
        top = found[0].filename.partition("/")[0] + "/" if found else ""  # a pack's zip has all below one folder
        top = top if all(each.filename.startswith(top) for each in found) else ""
        self._open = lambda name: archive.open(top + name)
        for each in found:
            room -= each.file_size
            with at(each.filename[:300]):
                need(room >= 0, "files of less than 200 times the zip's size", each.file_size)
                need(not each.flag_bits & 1 and each.compress_type in (0, 8), "a file that is stored or deflated")
            self._add(each.filename[len(top) :], each.file_size, each.external_attr >> 16)

    def _add(self, name, size, mode):
        with at(name[:300]):
            need(stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR), "a plain file", "a link or a device")
            need(re.fullmatch(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*", name) and len(name) < 500, "a path of [A-Za-z0-9._+-/]")
            need({".", ".."}.isdisjoint(name.split("/")) and name not in self.sizes, "a path downwards, once")
        if not stat.S_ISDIR(mode):
            self.sizes[name] = size

    def chunks(self, name):
        """A file in pieces of at most 1 MiB."""
        with at(name):
            need(name in self.sizes, "a file", "none")
            with self._open(name) as stream:
                left = self.sizes[name]
                while left and (piece := stream.read(min(left, MIB))):
                    left -= len(piece)
                    yield piece

    def read(self, name, most=64 * MIB):
        with at(name):
            need(self.sizes.get(name, 0) <= most, f"at most {most} bytes", self.sizes.get(name))
        return b"".join(self.chunks(name))


def _members(pairs):
    need(len(dict(pairs)) == len(pairs), "each name once", "one twice")
    return dict(pairs)


def _integer(text):
    need(len(text) <= 17 and abs(int(text)) < 2**53, "integers below 2^53", text[:20])
    return int(text)


def parse_json(raw):
    """JSON without fractions, large numbers and doubled names. ValueError, RecursionError."""
    return json.loads(
        raw.decode(), object_pairs_hook=_members, parse_int=_integer, parse_float=_integer, parse_constant=_integer
    )


def _ordered(value, levels=64):
    need(levels or not isinstance(value, (dict, list)), "at most 64 levels", "more")
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return {name: _ordered(value[name], levels - 1) for name in names}
    return [_ordered(each, levels - 1) for each in value] if isinstance(value, list) else value


def encode(value):
    """Canonical JSON (ledger.md, 2). ValueError."""
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def canonical(raw):
    """The value whose canonical form these bytes are. ValueError if there is none."""
    value = parse_json(raw)
    need(encode(value) == raw, "canonical JSON", raw[:80])
    return value


def unbase64(text):
    """Base64 with padding and zero spare bits. ValueError."""
    raw = base64.b64decode(text, validate=True)
    need(b64(raw) == text, "base64 with zero spare bits", text[:80])
    return raw


def unbase64url(text):
    need(re.fullmatch("[A-Za-z0-9_-]*", text), "base64url", text[:80])
    return unbase64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


# -- keys, notes, trees (ledger.md, 5 and 6) ------------------------------------------------------------------------------------


class VerifierKey:
    """`name+id+base64(type || key)`: Ed25519 of a log (1) or a witness (4), ML-DSA-44 of a witness (6). ValueError."""

    def __init__(self, line):
        self.line, (self.name, id_, text) = line, line.split("+", 2)
        raw = unbase64(text)
        self.id, self.type, sizes = sha256(self.name.encode(), b"\n", raw)[:4], raw[0], {1: 33, 4: 33, 6: 1313}
        need(self.name and self.id.hex() == id_ and sizes.get(self.type) == len(raw), "a verifier key", line[:80])
        if self.type == 6:
            from cryptography.hazmat.primitives.asymmetric import mldsa  # since version 47

            self._key = mldsa.MLDSA44PublicKey.from_public_bytes(raw[1:])
        else:
            self._key = ed25519.Ed25519PublicKey.from_public_bytes(raw[1:])

    def verify(self, signature, text):
        """When it was signed, in Unix seconds; 0 where the signature does not say (ledger.md, 9.1). InvalidSignature."""
        if self.type == 1:
            self._key.verify(signature, text)
            return 0
        time, (origin, size, root, _) = int.from_bytes(signature[:8], "big"), text.split(b"\n")
        signed = b"cosignature/v1\ntime %d\n%s" % (time, text)
        if self.type == 6:
            names = [bytes([len(name)]) + name for name in (self.name.encode(), origin)]
            signed = b"subtree/v1\n\0" + names[0] + signature[:8] + names[1] + struct.pack(">QQ", 0, int(size)) + unbase64(root.decode())
        need(0 < time < 2**63, "a time", time)
        self._key.verify(signature[8:], signed)
        return time


class Trust:
    """A C2SP tlog-policy, or one log's key. It is the checking person's own. ValueError, KeyError."""

    def __init__(self, text):
        self.logs, self.witnesses, self._groups, self._quorum = [], {}, [], "none"
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        for word, *rest in lines if len(lines) != 1 or len(lines[0]) > 1 else [["log", *lines[0]]]:
            need(word in ("log", "witness", "group", "quorum"), "log, witness, group or quorum", word[:80])
            if word == "log":
                self.logs.append(VerifierKey(rest[0]))
            elif word == "witness":
                self.witnesses[rest[0]] = VerifierKey(rest[1])
            elif word == "group":
                self._groups.append((rest[0], {"any": 1, "all": len(rest) - 2}.get(rest[1]) or int(rest[1]), rest[2:]))
            else:
                self._quorum = rest[0]
        need(self.logs, "the key of a log", "none")
        self.satisfied({})

    def satisfied(self, signed):
        """Whether those who signed are a quorum. `signed` has their key ids."""
        met = {"none": True, **{name: key.id in signed for name, key in self.witnesses.items()}}
        for name, least, members in self._groups:
            met[name] = sum(met[each] for each in members) >= least
        return met[self._quorum]

    def open(self, raw, name=""):
        """A note's text, and key id -> time of every known signature. The first is by the log's key, called `name` or as the
        text's first line. BAD."""
        text, _, block = raw.decode().rpartition("\n\n")
        lines, text, signed = block.split("\n"), text + "\n", {}
        need(len(raw) <= 65536 and 2 <= len(lines) <= 101 and not lines.pop(), "a note with signatures, 64 KiB at most", raw[:80])
        for line in lines:
            dash, signer, encoded = line.split(" ")
            blob = unbase64(encoded)
            need(dash == "\u2014" and signer and len(blob) > 4, "a signature", line[:80])
            for key in [*self.logs, *self.witnesses.values()]:
                if (key.name, key.id) == (signer, blob[:4]):
                    signed[key.id] = key.verify(blob[4:], text.encode())
            known = [key.name for key in self.logs if key.id in signed]
            need(set(known) == {name or text.partition("\n")[0]}, "a first signature by the trusted key of this log", signer[:80])
        return text, signed


def hand_over(source, trust):
    """6.1: the keys that follow and precede a believed one are believed. The index and the id of the last new key; -1, None."""
    keys, last = [], (-1, None)
    for index in sorted(int(each[9:]) for each in source.sizes if re.fullmatch("log/keys/(0|[1-9][0-9]{0,14})", each)):
        with at(f"log/keys/{index}"):
            text, _, block = source.read(f"log/keys/{index}", 65536).decode().rpartition("\n\n")
            mark, *pair, until = text.split("\n")
            pair, lines = [VerifierKey(line) for line in pair], block.split("\n")
            need(mark == "doorward/log-key/v1" and re.fullmatch(INT, until) and len(pair) == 2, "a change of the key", text[:80])
            need(not keys or keys[-1].line == pair[0].line, "a change from the key before", pair[0].line)
            need(len(lines) == 3 and not lines[2], "two signatures", lines)
            for key, line in zip(pair, lines):
                dash, name, blob = line.split(" ")
                need((dash, name, unbase64(blob)[:4]) == ("\u2014", key.name, key.id), f"a signature by {key.line}", line)
                key.verify(unbase64(blob)[4:], text.encode() + b"\n")
            keys, last = [*(keys or pair[:1]), pair[1]], (index, pair[1].id)
    if {key.line for key in keys} & {key.line for key in trust.logs}:
        trust.logs += [key for key in keys if key.line not in [known.line for known in trust.logs]]
    return last


Checkpoint = namedtuple("Checkpoint", "file raw origin size root signed")


def open_checkpoint(raw, file, trust):
    with at(file):
        text, signed = trust.open(raw)
        match = re.fullmatch(rf"([^\n]+)\n(0|[1-9][0-9]{{0,14}})\n({HASH})\n", text)
        need(match, "origin, size and root", text[:80])
        return Checkpoint(file, raw, match[1], int(match[2]), unbase64(match[3]), signed)


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(level):
    """The RFC 6962 root over these hashes."""
    while len(level) > 1:
        level = [*map(node, level[::2], level[1::2]), *level[len(level) - len(level) % 2 :]]
    return level[0] if level else sha256()


def root_by_proof(index, size, found, proof):
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2). ValueError."""
    last = size - 1
    need(0 <= index < size and len(proof) <= 63, "a proof of at most 63 hashes, of a leaf in the tree", len(proof))
    for each in proof:
        need(last, "a proof that ends at the root", "one that is longer")
        if index % 2 or index == last:
            found = node(each, found)
            while not index % 2 and index:
                index, last = index // 2, last // 2
        else:
            found = node(found, each)
        index, last = index // 2, last // 2
    need(not last, "a proof that ends at the root", "one that is shorter")
    return found


# -- the log (ledger.md, 3 and 8) -----------------------------------------------------------------------------------------------

HASH, UUID, INT = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "0|[1-9][0-9]{0,15}"
LEAF = re.compile(
    rf'{{"at":(?P<at>{INT}),"boot":"(?P<boot>[0-9a-f-]{{16,36}})"(?:,"c":"(?P<c>{HASH})")?'
    rf',"gw":"(?P<gw>[A-Za-z0-9][A-Za-z0-9._-]{{0,62}})"(?:,"n":(?P<n>{INT}))?,"prev":"(?P<prev>{HASH})"'
    rf',"rc":"(?P<rc>[a-z0-9-]{{1,32}})","seq":(?P<seq>{INT})(?:,"sh":"(?P<sh>{HASH})")?(?:,"sid":"(?P<sid>{UUID})")?'
    r',"t":"(?P<t>[a-z][a-z_]{0,31}\.[a-z][a-z_]{0,31})","v":1}'
)
TILE = re.compile(r"log/tile/(entries|[0-5])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
SESSION = ("session.opened", "session.sealed", "session.closed", "session.recovered")
KEEPING = ("recording.held", "recording.released", "recording.deleted")


def tile_path(level, number, width=256):
    groups = f"{number:,}".split(",")  # tlog-tiles has groups of three digits, too
    path = "/".join([*["x" + each.zfill(3) for each in groups[:-1]], groups[-1].zfill(3)])
    return f"log/tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


def due(class_, month):
    """From when on what a class recorded in a month (years * 12 + months) may be deleted, Unix ms (ledger.md, 3.3)."""
    match = re.search("-([1-9][0-9]{0,2})([my])$", class_)
    if match is None:
        return 1 << 60  # never
    year, month = divmod(month + 1 + int(match[1]) * (12 if match[2] == "y" else 1), 12)
    return int(datetime(year, month + 1, 1, tzinfo=timezone.utc).timestamp()) * 1000


def month_of(milliseconds):
    day = datetime.fromtimestamp(milliseconds // 1000, timezone.utc)
    return day.year * 12 + day.month - 1


class Session:
    """`root` is there once it has ended."""

    def __init__(self, opened, due=0):
        self.opened, self.due, self.segments, self.root, self.held, self.deleted = opened, due, [], None, False, False


class Log:
    """A log under a signed checkpoint: `hashes` and `types` of its leaves, and `sessions` by id."""

    def __init__(self, source, checkpoint):
        self.source, self.checkpoint, self.size, self.hashes = source, checkpoint, checkpoint.size, []
        self.sessions, self.types, self.times, self._last = {}, [], [], (None, "", [])
        self._classes, self.deleted, self.stamped = set(), set(), []  # retention classes so far, and epochs whose records are deleted

    def bundle(self, number, level="entries"):
        """The file with entries, or with hashes, from 256 `number` on, and what it has of this size of the log."""
        file, whole = tile_path(level, number, min(256, self.size - number * 256)), tile_path(level, number)
        file = whole if whole in self.source.sizes else file
        raw, found, place = self.source.read(file, 256 * 4098), [], 0
        with at(file, "its entries"):
            while place < len(raw) and len(found) < 256:
                size = int.from_bytes(raw[place : place + 2], "big") + 2 if level == "entries" else 32
                found.append(raw[place : place + size][2 if level == "entries" else 0 :])
                place += size
            width = min(256, self.size - number * 256)
            need(place == len(raw) and len(found) == (width if "." in file else 256), f"{width} whole entries", len(found))
        return file, found[:width]

    def leaf(self, index):
        """What the leaf says, by member, as text; and the file that it is in."""
        if type(index) is not int or not 0 <= index < self.size:
            raise Broken(Spot(self.checkpoint.file, f"leaf {index}"[:80], f"one of {self.size} leaves", "none"))
        if self._last[0] != index // 256:
            self._last = (index // 256, *self.bundle(index // 256))
        entry = self._last[2][index % 256]
        with at(self._last[1], f"leaf {index}"):
            found = LEAF.fullmatch(entry.decode("ascii"))
            need(found and len(entry) <= 1024, "a leaf (ledger.md, 3)", entry[:80])
            need(int(found["at"]) < 2**53 and int(found["seq"]) < 2**53 > int(found["n"] or 0), "integers below 2^53", entry[:80])
        return found.groupdict(), self._last[1]

    def check_tree(self):
        """8.2: leaf hashes give the root, and all tiles are what they give."""
        for number in range(-(-self.size // 256)):
            self.hashes += [hashlib.sha256(b"\0" + entry).digest() for entry in self.bundle(number)[1]]
        levels, tail = [self.hashes], []
        while len(levels[-1]) >= 256:
            starts = range(0, len(levels[-1]) - 255, 256)
            levels.append([tree_root(levels[-1][start : start + 256]) for start in starts])
        for level in levels:  # what does not fill a tile goes up as the last hash of the level above
            rest = level[len(level) // 256 * 256 :] + tail
            tail = [tree_root(rest)] if rest else []
        if tree_root(tail) != self.checkpoint.root:
            self._blame()
        for file in [each for each in self.source.sizes if each.startswith("log/tile/")]:
            self._check_tile(file, levels)
        for level, made in enumerate(levels):
            for number in range(-(-len(made) // 256)):
                file = tile_path(level, number, min(256, len(made) - number * 256))
                with at(file):
                    need({file, tile_path(level, number)} & set(self.source.sizes), "a tile", "none")

    def _blame(self):
        """The root is not the signed one. Tiles that do give it tell which leaf is wrong."""
        told = [each for number in range(-(-self.size // 256)) for each in self.bundle(number, 0)[1]]
        for index, (said, found) in enumerate(zip(told, self.hashes)):
            if tree_root(told) == self.checkpoint.root and said != found:
                raise Broken(Spot(self.leaf(index)[1], f"leaf {index}", f"leaf hash {said.hex()}", found.hex()))
        raise Broken(Spot(self.checkpoint.file, "root", self.checkpoint.root.hex(), "another, from the leaves"))

    def _check_tile(self, file, levels):
        match = TILE.fullmatch(file)
        if match is None:
            return  # no tile: one that was being written, perhaps
        number, width = int(re.sub("[x/]", "", match[2])), int(match[3] or 256)
        level = 0 if match[1] == "entries" else int(match[1])
        made = levels[level][number * 256 : number * 256 + width] if level < len(levels) else []
        if match[1] == "entries" and made:
            made = [len(entry).to_bytes(2, "big") + entry for entry in self.bundle(number)[1][:width]]
        raw, said = self.source.read(file, 256 * 4098), b"".join(made)
        if raw[: len(said)] != said or (len(made) == width and len(raw) != len(said)):  # one may be ahead of the checkpoint
            place = len(os.path.commonprefix([raw, said]))
            raise Broken(Spot(file, f"byte {place}", "what the leaves give", "something else"))

    def check_kept(self, kept):
        """8.3: a checkpoint kept elsewhere is of an earlier state of this log, or of this one."""
        with at(kept.file):
            here = (self.checkpoint.origin, self.size)
            need(kept.origin == here[0] and kept.size <= here[1], f"at least {kept.size} leaves of {kept.origin}", here)
            need(tree_root(self.hashes[: kept.size]) == kept.root, f"root {kept.root.hex()} of {kept.size} leaves", "a rewritten log")

    def check_leaves(self):
        """8.4: the chain of each gateway, and the grammar of sessions."""
        chains = {}
        for index in range(self.size):
            leaf, file = self.leaf(index)
            with at(file, f"leaf {index}"):
                boot, seq, last, boots = chains.get(leaf["gw"]) or ("", -1, b64(bytes(32)), set())
                follows = seq + 1 if leaf["boot"] == boot else 0 if leaf["boot"] not in boots else None
                need((leaf["prev"], int(leaf["seq"])) == (last, follows), f"seq {follows} of {leaf['gw']}, after {last}", leaf)
                chains[leaf["gw"]] = (leaf["boot"], int(leaf["seq"]), b64(self.hashes[index]), boots)
                boots.add(leaf["boot"])
                self.types.append(sys.intern(leaf["t"]))
                self.times.append(int(leaf["at"]))
                self._classes.add(leaf["rc"])
                if leaf["t"] in SESSION:
                    need(self._follow(leaf["t"], leaf["sid"], leaf["n"], leaf["sh"], leaf), "the grammar of a session", leaf)
                elif leaf["t"] in KEEPING:
                    self._keep(leaf["t"], self.sessions.get(leaf["sid"]), int(leaf["at"]))
                elif leaf["t"] == "retention.deleted":
                    self._delete(int(leaf["n"]), leaf["sh"], int(leaf["at"]))
                elif leaf["t"] in ("log.stamped", "log.key_rotated"):
                    self.stamped.append((index, leaf["t"], leaf["sh"]))

    def _keep(self, type_, session, time):
        need(session, "a session that was opened", "none")
        if type_ == "recording.deleted":
            need(session.root and not session.held and time >= session.due, "a session that ended, not held, and due", type_)
            session.deleted = True
        else:
            session.held = type_ == "recording.held"

    def _delete(self, n, sh, time):
        month = n // 100 * 12 + n % 100 - 1
        epochs = {class_: f"{class_}.{n // 100:04}-{n % 100:02}" for class_ in self._classes}
        fits = [each for each, epoch in epochs.items() if b64(sha256(b"doorward/epoch/v1\0", epoch.encode())) == sh]
        need(fits and time >= due(fits[0], month), "an epoch of a class in leaves before, that is due", n)
        self.deleted.add((fits[0], month))

    def _follow(self, type_, sid, n, sh, leaf):
        session = self.sessions.get(sid)
        if type_ == "session.opened":
            self.sessions[sid] = Session(sh, due(leaf["rc"], month_of(int(leaf["at"]))))
            return sid and not session
        if session is None or session.root or not sh or n is None or int(n) != len(session.segments):
            return False
        if type_ == "session.sealed":
            session.segments.append(sh)
            return True
        session.root = sh
        return sh in ([*session.segments[-1:]] or [session.opened, session.opened or sh])


# -- recordings (recording.md) --------------------------------------------------------------------------------------------------

HEADER = re.compile(rb'DOORREC1\n\{"codec":"zstd","created":(?:%s),"retention":"[a-z0-9-]{1,32}","sid":"(%s)","v":1\}\n'
                    % (INT.encode(), UUID.encode()))  # fmt: skip


def recording_path(sid):
    """Where a session's recording is: by the time in its UUIDv7."""
    need(re.fullmatch(UUID, sid), "a file named after a session", sid[:80])
    day = datetime.fromtimestamp(int(sid[:8] + sid[9:13], 16) // 1000, timezone.utc)
    return f"recordings/{day:%Y}/{day:%m}/{sid}.dwr"


def check_recording(source, file, sid, session, key=None):
    """A recording against the leaves of its session; with its data key, also that what is sealed opens. Segments found."""
    pieces, buffer, number = source.chunks(file), bytearray(), 0

    def take(size):
        while len(buffer) < size and (piece := next(pieces, b"")):
            buffer.extend(piece)
        found = bytes(buffer[:size])
        del buffer[:size]
        return found

    with at(file, "header"):
        match = HEADER.match(head := take(512))
        need(match and match[1].decode() == sid, f"the header of a recording of {sid}", head[:100])
        buffer[:0] = head[match.end() :]
        previous = sha256(b"doorward/rechead/v1\0", match[0])
        need(session.opened in (None, b64(previous)), f"header hash {session.opened}", b64(previous))
        id_ = bytes.fromhex(sid.replace("-", ""))
    while head := take(76):
        with at(file, f"segment {number}", Broken if session.root or number < len(session.segments) else Gap):
            need(number < len(session.segments), f"{len(session.segments)} segments with a leaf each", "more")
            need(len(head) == 76, "a whole segment", "the end")
            mark, owner, count, before, iv, length = struct.unpack(">4s16sI32s16sI", head)
            found = (mark, owner, count, before)
            need(found == (b"DWS1", id_, number, previous) and 17 <= length <= 4228096, "the next segment of this session", found)
            sealed = take(length)
            hash_ = sha256(b"doorward/seghash/v1\0", head, sealed)
            need(b64(hash_) == session.segments[number], f"segment hash {session.segments[number]}", b64(hash_))
            if key is not None:
                open_segment(key, id_, number, previous, iv, head, sealed)
            previous, number = hash_, number + 1
    with at(file, f"segment {number}"):
        need(number == len(session.segments), f"{len(session.segments)} segments", f"the end after {number}")
        need(session.root in (None, b64(previous)), f"root {session.root}", b64(previous))
    return number


def open_segment(key, id_, number, previous, iv, head, sealed):
    """Decrypts a segment and, where there is a decoder, reads its records. BAD."""

    def expand(label, size):
        return HKDFExpand(hashes.SHA256(), size, label).derive(key)

    keys = expand(b"doorward/seg/v1\0" + id_ + number.to_bytes(4, "big") + iv, 44)
    frame = AESGCM(keys[:32]).decrypt(keys[32:], sealed, head)
    mac = hmac.new(expand(b"doorward/siv/v1\0" + id_, 32), number.to_bytes(4, "big") + previous + frame, "sha256").digest()
    need(mac[:16] == iv, f"synthetic iv {mac[:16].hex()}", iv.hex())
    if zstandard is not None:
        with contextlib.suppress(zstandard.ZstdError):
            size = zstandard.frame_content_size(frame)
            need(0 < size <= 4 * MIB, "a frame of 1 byte to 4 MiB", size)
            records = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
            while records:
                kind, time, length = struct.unpack(">BQI", records[:13])
                need(1 <= kind <= 6 and time < 2**53 and length <= min(2 * MIB, len(records) - 13), "a whole record", kind)
                records = records[13 + length :]
            return
        raise Mismatch("a zstd frame", "what does not unpack")


# -- votes (approval.md) --------------------------------------------------------------------------------------------------------


def ssh_fields(raw, count):
    """The first fields of SSH wire format, and what follows. BAD."""
    found = []
    for _ in range(count):
        size = int.from_bytes(raw[:4], "big")
        need(4 + size <= len(raw), "a field of SSH", "its end")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return (*found, raw)


def check_ssh(armored, message, namespace, line):
    """The flags of an SSHSIG by the key of this line (PROTOCOL.sshsig); 0 of a plain key. BAD."""
    match = re.fullmatch(r"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n?", armored)
    blob = unbase64(match[1].replace("\n", ""))
    public, space, reserved, hash_, signature, rest = ssh_fields(blob[10:], 5)
    need(blob[:10] == b"SSHSIG\0\0\0\1" and not rest + reserved and hash_ in (b"sha256", b"sha512"), "an SSH signature", blob[:80])
    need(space == namespace.encode(), f"namespace {namespace}", space)
    need(line == f"{ssh_fields(public, 1)[0].decode()} {b64(public)}", "a signature by this key", "another's")
    kind, body = ssh_fields(public, 1)
    said, value, tail = ssh_fields(signature, 2)
    parts = [space, b"", hash_, hashlib.new(hash_.decode(), message).digest()]
    signed, flags = b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts), 0
    if kind.startswith(b"sk-"):
        application, flags = ssh_fields(body, 1 if b"ed25519" in kind else 2)[-1], tail[0]
        (application, left) = ssh_fields(application, 1)
        need(application.startswith(b"ssh:") and not left and len(tail) == 5 and flags & 1, "a touched security key", tail)
        signed, tail = sha256(application) + tail + sha256(signed), b""
    need(not tail, "a signature and no more", tail)
    if kind == b"ssh-rsa":
        e, n, left = (int.from_bytes(each, "big") for each in ssh_fields(body, 2))
        need(n >> 2047 and not left and said in (b"rsa-sha2-256", b"rsa-sha2-512"), "an RSA key of 2,048 bits and SHA-2", said)
        rsa.RSAPublicNumbers(e, n).public_key().verify(value, signed, padding.PKCS1v15(), HASHES[said[-3:].decode()])
    elif kind in (b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"):
        need(said == kind, kind, said)
        ed25519.Ed25519PublicKey.from_public_bytes(ssh_fields(body, 1)[0]).verify(value, signed)
    else:
        name, point = ssh_fields(body, 2)[:2]
        need(said == kind and kind.replace(b"sk-", b"").startswith(b"ecdsa-sha2-" + name), "a key that may vote", kind)
        curve, hash_ = CURVES[name]
        r, s = (int.from_bytes(each, "big") for each in ssh_fields(value, 2)[:2])
        ec.EllipticCurvePublicKey.from_encoded_point(curve, point).verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hash_))
    return flags


HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {b"nistp256": (ec.SECP256R1(), HASHES["256"]), b"nistp384": (ec.SECP384R1(), HASHES["384"]),
          b"nistp521": (ec.SECP521R1(), HASHES["512"])}  # fmt: skip


def cose_map(raw):
    """A COSE key: a CBOR map of small integers to integers and byte strings, and nothing behind it. BAD."""

    def item():
        nonlocal place
        major, value = divmod(raw[place], 32)
        place += 1
        if value >= 24:
            size = 1 << (value - 24)
            value, place = int.from_bytes(raw[place : place + size], "big"), place + size
        if major == 2:
            place += value
            return raw[place - value : place]
        need(major in (0, 1, 5) and place <= len(raw) <= 4096, "a COSE key", raw[:80])
        return value if major != 1 else -1 - value

    place = 0
    found = {item(): item() for _ in range(item() if raw[0] >> 5 == 5 else 0)}
    need(place == len(raw), "a COSE key", raw[:80])
    return found


def check_passkey(credential, message, key):
    """The flags of a WebAuthn assertion (Web Authentication, 7.2) over the challenge of this request. BAD."""
    authenticator, client, signature = (
        unbase64url(credential["response"][each]) for each in ("authenticatorData", "clientDataJSON", "signature")
    )
    said, challenge = parse_json(client), sha256(b"doorward/approval/v1\0", message)
    need(said["type"] == "webauthn.get" and unbase64url(said["challenge"]) == challenge, "an assertion for this request", client)
    need(said["origin"] in key["origins"] and said.get("crossOrigin", False) is False, f"an origin of {key['origins']}", client)
    need("topOrigin" not in said and credential["id"] == key["credential"], "this credential, in no frame", client)
    flags, extras = authenticator[32], authenticator[37:]
    need(authenticator[:32] == sha256(key["rp_id"].encode()) and flags & 5 == 5, f"{key['rp_id']}, present and verified", flags)
    need(len(authenticator) >= 37 and bool(extras) == bool(flags & 0xC0), "authenticator data", authenticator)
    cose, signed = cose_map(unbase64url(key["public_key"])), authenticator + sha256(client)
    kind = (cose[1], cose[3], cose.get(-1))
    if kind == (2, -7, 1):
        point = ec.EllipticCurvePublicNumbers(int.from_bytes(cose[-2], "big"), int.from_bytes(cose[-3], "big"), ec.SECP256R1())
        point.public_key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    elif kind == (1, -8, 6):
        ed25519.Ed25519PublicKey.from_public_bytes(cose[-2]).verify(signature, signed)
    else:
        need(kind[:2] == (3, -257), "ES256, EdDSA or RS256", kind)
        n, e = (int.from_bytes(cose[each], "big") for each in (-1, -2))
        rsa.RSAPublicNumbers(e, n).public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    return flags


TERMS = {
    "doorward.approval": set(
        "typ v rid requester act target role search_path stmt_commit params_commit operation_commit display_commit policy preview"
        " quorum nonce nbf exp uses limits log".split()
    ),
    "doorward.grant": set(
        "typ v rid requester act target display_commit policy quorum nonce nbf exp log kinds actions on session limits skips".split()
    ),
}


def seats_taken(voters, seats):
    """Whether each seat of a group can be given to a voter of that group, one person one seat."""
    wanted = [group for group, count in seats.items() for _ in range(min(count, len(voters) + 1))]
    holders = {}

    def seat(number, tried):
        for voter, groups in enumerate(voters):
            if wanted[number] in groups and voter not in tried:
                tried.add(voter)
                if voter not in holders or seat(holders[voter], tried):
                    holders[voter] = number
                    return True
        return False

    return len(wanted) <= len(voters) and all(seat(number, set()) for number in range(len(wanted)))


class Asked:
    """A request: its terms, its votes (person -> yes, groups, key), what it was spent for, and how it was used."""

    def __init__(self, body):
        self.terms, self.body, self.votes, self.spent, self.ran = body.get("terms"), body, {}, None, set()
        self.uses, self.over, self.newest, self.last = set(), None, 0, 0


class Votes:
    """What the opened events of a log must say together (approval.md, 5), in log order."""

    def __init__(self):
        self.keys, self.revoked, self.asked, self.signatures = {}, set(), {}, 0

    def add(self, gateway, type_, actor, time, body):
        """BAD for what does not fit."""
        name = type_.replace(".", "_")
        if type_ == "operation.permitted" and body.get("approval"):
            self._ran(self.asked[body["approval"]], body)
        elif hasattr(self, name):
            getattr(self, name)(gateway, actor, time, body)

    def approver_key_registered(self, gateway, actor, time, body):
        method, public = body["method"], body["public_key"]
        id_ = sha256(f"doorward/key/v1\0{method}\0{public}".encode()).hex()[:32]
        need(body["key"] == id_ and id_ not in self.keys and body["owner"] == actor, "a new key, registered by its owner", body["key"])
        if method == "sshsig":
            challenge = body["proof"]["challenge"]
            check_ssh(body["proof"]["signature"], encode(challenge), f"doorward-key@{gateway}", public)
            need(challenge["owner"] == actor, f"a proof by {actor}", challenge)
        self.keys[id_] = body

    def approver_key_revoked(self, gateway, actor, time, body):
        need(body["key"] in self.keys, "a key that was registered", body["key"])
        self.revoked.add(body["key"])

    def approval_requested(self, gateway, actor, time, body):
        asked = self.asked.setdefault(body["approval"], Asked(body))
        if asked.terms is not None:
            need(set(asked.terms) == TERMS[asked.terms["typ"]] and asked.terms["rid"] == body["approval"], "the terms of a request")
            preview = sha256(encode(body["preview"])).hex() if body.get("preview") else ""
            need(asked.terms.get("preview", preview) == preview, f"preview {preview}", asked.terms.get("preview"))

    def _signed(self, gateway, actor, body, decision):
        """Checks the signature over a request with this approver and decision; the flags."""
        terms, key = self.asked[body["approval"]].terms, self.keys[body["key"]]
        request = encode({**terms, "approver": actor, "decision": decision})
        need(body["request"].encode() == request and len(request) <= 32768, "a signature over what was asked", body["request"][:80])
        need(key["owner"] == actor and body["key"] not in self.revoked, f"a key of {actor}'s, not revoked", body["key"])
        need(body["signature"]["method"] == key["method"], key["method"], body["signature"]["method"])
        self.signatures += 1
        if key["method"] == "sshsig":
            return check_ssh(body["signature"]["signature"], request, f"doorward-approval@{gateway}", key["public_key"])
        return check_passkey(body["signature"]["credential"], request, key)

    def approval_voted(self, gateway, actor, time, body):
        asked = self.asked[body["approval"]]
        if asked.terms is None:
            return
        flags = self._signed(gateway, actor, body, {True: "approve", False: "deny"}[body["approve"]])
        alone = asked.terms.get("skips") is not None
        need(not alone or actor == asked.terms["requester"] and flags & 4 | (not body["approve"]), "the requester, verified", actor)
        need(alone or actor not in [asked.terms["requester"], *asked.terms["act"]], "somebody else than who asked", actor)
        asked.last = asked.last if actor in asked.votes else time
        asked.votes.setdefault(actor, (body["approve"], set(body["groups"]), body["key"]))

    def break_glass_reviewed(self, gateway, actor, time, body):
        terms = self.asked[body["approval"]].terms
        need(terms["skips"] is not None and actor not in [terms["requester"], *terms["act"]], "a review by somebody else", actor)
        self._signed(gateway, actor, body, {True: "justified", False: "unjustified"}[body["justified"]])

    def _enough(self, asked):
        quorum, votes = asked.terms["quorum"], asked.votes.values()
        need(all(yes and key not in self.revoked for yes, _, key in votes), "no vote against, and keys that are not revoked")
        need(len(votes) >= max(1, quorum["k"]), f"{quorum['k']} people", len(votes))
        need(seats_taken([groups for _, groups, _ in votes], quorum["seats"]), f"votes of {quorum['seats']}")

    def approval_spent(self, gateway, actor, time, body):
        asked = self.asked[body["approval"]]
        need(asked.spent is None, "a request that is spent once", body["approval"])
        asked.spent = body["operation"]
        if asked.terms is not None:
            self._enough(asked)
            need(asked.terms["typ"] == "doorward.approval" and time < asked.terms["exp"], "a request in its time", time)

    def grant_used(self, gateway, actor, time, body):
        asked, counted = self.asked[body["approval"]], body["counted_at"]
        terms, limits = asked.terms, asked.terms["limits"]
        self._enough(asked)
        need(terms["typ"] == "doorward.grant" and actor == terms["requester"], f"a grant of {actor}'s", terms["requester"])
        end = min([min(asked.last, terms["exp"]) + limits["minutes"] * 60000, *([asked.over + 1] if asked.over else [])])
        need(counted <= time and counted < end and body["operation"] not in asked.uses, "once for an operation, in its time", counted)
        asked.uses.add(body["operation"])
        asked.newest = max(asked.newest, counted)
        need(len(asked.uses) <= limits["statements"] and 0 <= body["reserved"] <= limits["rows"], f"at most {limits}", body)

    def grant_settled(self, gateway, actor, time, body):
        need(body["operation"] in self.asked[body["approval"]].uses, "an operation that used the grant", body["operation"])

    def approval_withdrawn(self, gateway, actor, time, body):
        asked = self.asked.get(body["approval"])
        if asked is not None:
            asked.over = asked.over or time
            need(asked.newest <= time, "a grant that is not used after its end", asked.newest)

    approval_expired = approval_withdrawn

    def _ran(self, asked, body):
        """An operation that names an approval."""
        operation, terms, decision = body["operation"], asked.terms, body["decision"]
        if terms is not None and terms["typ"] == "doorward.grant":
            need(operation in asked.uses and decision["policy"] == terms["policy"]["sha256"], "a use under the grant's policies", operation)
            accesses = {access for _, _, access in body["resources"]} | {body["effect"]}
            fits = set(decision["rules"]) <= set(terms["policy"]["rules"]) and accesses <= {*terms["actions"], "read"}
            need(fits, f"{terms['actions']} by {terms['policy']['rules']}", body["resources"])
        else:
            need(asked.spent == operation, f"an operation that {asked.body['approval']} was spent for", operation)
            for each in ("text", "params", "role", "search_path"):  # what ran is what was shown, as far as it can be seen
                need(body.get(each) == asked.body.get(each), f"{each} {asked.body.get(each)}", body.get(each))
        need(operation not in asked.ran, "an operation that runs once", operation)
        asked.ran.add(operation)


# -- time stamps (RFC 3161) -----------------------------------------------------------------------------------------------------

SHA2 = {"608648016503040201": hashes.SHA256(), "608648016503040202": hashes.SHA384(), "608648016503040203": hashes.SHA512()}
PKCS9 = "2a864886f70d0109"  # contentType 03, messageDigest 04, TSTInfo 100104, signingCertificate 10020c and its version 2, 10022f


def der(raw):
    """The DER values in these bytes, each (tag, content, whole). BAD."""
    found = []
    while raw:
        start = 2 + (raw[1] & 127 if raw[1] > 127 else 0)
        end = start + (int.from_bytes(raw[2:start], "big") if start > 2 else raw[1])
        need(start <= 6 and end <= len(raw), "DER", raw[:20].hex())
        found.append((raw[0], raw[start:end], raw[:end]))
        raw = raw[end:]
    return found


def inner(value, *path):
    """What is inside a DER value, by positions."""
    for step in path:
        value = der(value[1])[step]
    return value


def check_stamp(raw, roots):
    """When a message was stamped (Unix seconds), and its SHA-256, from a TimeStampResp. Where roots are given, the signer's
    certificate must lead to one of them. BAD."""
    response = der(raw)[0]
    need(inner(response, 0, 0)[1] in (b"\0", b"\1"), "a stamp that was granted", inner(response, 0)[1])
    signed = der(inner(response, 1, 1, 0)[1])
    content, signers = inner(signed[2], 1, 0)[1], der(signed[-1][1])
    need(inner(signed[2], 0)[1].hex() == PKCS9 + "100104" and len(signers) == 1, "a time stamp by one signer", signed[2][1][:20])
    _, _, (_, imprint, _), _, (_, time, _), *_ = der(der(content)[0][1])
    algorithm, digest = der(imprint)
    need(SHA2[inner(algorithm, 0)[1].hex()].name == "sha256", "an imprint by SHA-256")
    made = datetime.strptime(time.decode()[:14] + "+0000", "%Y%m%d%H%M%S%z")
    _, sid, algorithm, attributes, _, signature, *_ = der(signers[0][1])
    said = {inner(each, 0)[1].hex(): inner(each, 1) for each in der(attributes[1])}
    hash_ = SHA2[inner(algorithm, 0)[1].hex()]
    need(inner(said[PKCS9 + "04"], 0)[1] == hashlib.new(hash_.name, content).digest(), "the digest of the stamp")
    need(inner(said[PKCS9 + "03"], 0)[1].hex() == PKCS9 + "100104", "the content type of a stamp")
    found = [x509.load_der_x509_certificate(each[2]) for part in signed[3:-1] if part[0] == 0xA0 for each in der(part[1])]
    who = inner(sid, 0)[2], int.from_bytes(inner(sid, 1)[1], "big")
    signer = {(each.issuer.public_bytes(), each.serial_number): each for each in found}[who]
    named = (said.get(PKCS9 + "10022f") or said[PKCS9 + "10020c"])[1]
    need(any(signer.fingerprint(each) in named for each in (*SHA2.values(), hashes.SHA1())), "the certificate that was signed")
    usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    need(usage.critical and [*usage.value] == [x509.ExtendedKeyUsageOID.TIME_STAMPING], "a certificate for time stamps only", usage)
    signed, key = b"\x31" + attributes[2][1:], signer.public_key()
    key.verify(signature[1], signed, *([padding.PKCS1v15(), hash_] if isinstance(key, rsa.RSAPublicKey) else [ec.ECDSA(hash_)]))
    for _ in range(8 if roots else 0):
        need(signer.not_valid_before_utc <= made <= signer.not_valid_after_utc, f"a certificate valid at {made}", signer.subject)
        if signer in roots:
            break
        signer = next((each for each in [*roots, *found] if issued(each, signer)), None)
        need(signer, "a chain to a given root", "none")
    need(not roots or signer in roots, "a chain to a given root", "a longer one")
    return int(made.timestamp()), digest[1]


def issued(authority, certificate):
    with contextlib.suppress(*BAD):
        certificate.verify_directly_issued_by(authority)
        return authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


# -- the whole ------------------------------------------------------------------------------------------------------------------


def check(path, policy, kept=(), roots=b""):
    """Checks a pack or a data directory. `kept`: names and bytes of checkpoints kept elsewhere. `roots`: certificates, PEM."""
    report = Report()
    with report.part():
        with at("--trust", kind=Gap):
            trust = Trust(policy)
        source = Source(path)
        last_key = hand_over(source, trust)
        pack = check_manifest(source, trust, report) if "manifest.json" in source.sizes else None
        file = "log/checkpoint.end" if pack else "log/checkpoint"
        with at(file, kind=Gap):
            need(file in source.sizes or kept, "a signed checkpoint", "none")
        log = Log(source, open_checkpoint(source.read(file, 65536), file, trust))
        log.check_tree()
        others = [each for each in sorted(source.sizes) if re.match("log/(kept/|checkpoint.start$|witnessed$)", each)]
        checkpoints = [log.checkpoint]
        for name, raw in [*kept, *((each, source.read(each, 65536)) for each in others)]:
            with report.part():
                checkpoints.append(open_checkpoint(raw, name, trust))
                log.check_kept(checkpoints[-1])
                report.counts["checkpoints kept elsewhere"] += name not in others
        log.check_leaves()
        for each in checkpoints:
            with report.part(), at(each.file):
                need(each.size <= last_key[0] or last_key[1] in (None, *each.signed), "a signature by the log's newest key", "older ones")
        rotated = {index: digest for index, type_, digest in log.stamped if type_ == "log.key_rotated" and digest}
        for index in {*rotated, *(int(each[9:]) for each in source.sizes if re.fullmatch("log/keys/[0-9]{1,15}", each))}:
            with report.part(), at(f"log/keys/{index}"):
                found = b64(sha256(source.read(f"log/keys/{index}", 65536))) if not pack or f"log/keys/{index}" in source.sizes else None
                need(index >= log.size or found in (None, rotated.get(index)), f"the change of key in leaf {index}", found)
        check_stamps(source, log, trust, checkpoints, roots, report)
        check_times(log, checkpoints, trust, report)
        report.counts.update({"leaves": log.size, "sessions": len(log.sessions)})
        if pack:
            Pack(source, log, pack, report).check()
        else:
            check_recordings(source, log, report)
    return report


def check_stamps(source, log, trust, checkpoints, roots, report):
    """RFC 3161 stamps over checkpoints of this log: what holds is added to `checkpoints` with its time."""
    roots = roots or ("trust/tsa-roots.pem" in source.sizes and source.read("trust/tsa-roots.pem", MIB))
    for name in sorted(each for each in source.sizes if re.fullmatch(r"log/tsr/[0-9]+[^/]*\.tsr", each)):
        with report.part(), at(name):
            size, note, raw = re.search("[0-9]+", name)[0], name[:-3] + "note", source.read(name, MIB)
            seen = [each for each in checkpoints if str(each.size) == size]
            if note in source.sizes:
                seen = [open_checkpoint(source.read(note, 65536), note, trust)]
                log.check_kept(seen[0])
            made, digest = check_stamp(raw, x509.load_pem_x509_certificates(roots) if roots else [])
            seen = [each for each in seen if sha256(each.raw) == digest]
            need(seen, f"the stamp of a checkpoint of {size} leaves that is here", digest.hex())
            checkpoints.append(seen[0]._replace(file=name, signed={**seen[0].signed, "authority": made if roots else 0}))
            report.counts["time stamps" if roots else "time stamps, whose authority nobody vouches for (--tsa)"] += 1
    stamped = {b64(sha256(source.read(each, MIB))) for each in source.sizes if each.startswith("log/tsr/") and each.endswith(".tsr")}
    for index, type_, digest in log.stamped:
        with report.part(), at("log/tsr", f"leaf {index}"):
            need(type_ != "log.stamped" or digest in stamped, f"the time stamp {digest}", "none")


def check_times(log, checkpoints, trust, report):
    """9.2 and 9.3: witnesses as the policy wants them, and leaves dated as witnesses saw them."""
    seen = max((each.size for each in checkpoints if trust.satisfied(each.signed)), default=-1)
    with report.part(), at(log.checkpoint.file):
        need(seen >= 0, "cosignatures as the policy wants them", "too few")
    with report.part(), at(log.checkpoint.file, kind=Gap):
        tail = (log.times[seen:] if seen >= 0 else []) or [0]
        need(max(tail) - tail[0] <= 120_000, f"leaves that wait 120 s at most for witnesses; from leaf {seen} on", "older ones")
    for each in checkpoints:
        moments = [1000 * time for time in each.signed.values() if time] or [0]
        said = f"leaves dated as those who signed at {moments} saw them, within 10 minutes"
        with report.part(), at(each.file, "the clock"):
            need(moments == [0] or max(log.times[: each.size], default=0) <= max(moments) + 600_000, said, "later ones")
        with report.part(), at(each.file, "the clock", Gap):
            need(min(log.times[each.size :], default=2**53) >= min(moments) - 600_000, said, "earlier ones")


def check_recordings(source, log, report):
    """8.5: every recording against its leaves; every session has one, or a leaf that says that it was deleted."""
    found = {}
    for file in source.sizes:
        if file.startswith("recordings/") and file.endswith(".dwr"):
            found.setdefault(os.path.basename(file)[:-4], []).append(file)
    for sid in sorted({*log.sessions, *found}):
        with report.part(), at(f"recordings/{sid}.dwr"):
            file = recording_path(sid)
            need(set(found.get(sid, [])) <= {file}, f"the recording {file}, once", found.get(sid))
            session = log.sessions.get(sid)
            with at(file, kind=Gap):
                need(session, "a session in the log", "none")
                need(not session.deleted or sid not in found, "a recording that is deleted", "one that is there")
            if session.deleted:
                report.counts["recordings deleted when they were due"] += 1
            else:
                report.counts["segments"] += check_recording(source, file, sid, session)


def check_manifest(source, trust, report):
    """pack.md, 2: what is in the pack, and that the log's key says so."""
    raw = source.read("manifest.json")
    with at("manifest.json"):
        manifest = canonical(raw)
        files = {each["path"]: each for each in manifest["files"]}
        odd = {"manifest.json", "manifest.note", *files} ^ set(source.sizes)
        need(not odd and len(files) == len(manifest["files"]), "every file here, each once", sorted(odd)[:3])
        need(len({each.lower() for each in files}) == len(files), "paths that differ in more than letter case")
        name = "doorward-pack:{origin}/{size}/{hex}/{from}/{to}".format(**manifest, hex=unbase64(manifest["root"]).hex())
        need(manifest["v"] == 1 and manifest["id"] == str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "the id of this pack", manifest["id"])
    with at("manifest.note"):
        text, _ = trust.open(source.read("manifest.note", 65536), manifest["origin"])
        said = "doorward-evidence-pack/v1\n{id}\n{sha256}\n{origin} {size} {root}\n".format(**manifest, sha256=sha256(raw).hex())
        need(text == said, said, text)
    for path, each in files.items():
        with report.part(), at(path):
            digest = hashlib.sha256()
            for piece in source.chunks(path):
                digest.update(piece)
            need((source.sizes[path], digest.hexdigest()) == (each["size"], each["sha256"]), each["sha256"], digest.hexdigest())
    return manifest


OPENING = re.compile(rb'\{"leaf":(0|[1-9][0-9]{0,14}),"record":(.*),"salt":"([A-Za-z0-9+/]{43}=)"\}')
COMMON = ["leaf_index", "leaf_hash", "ts_utc", "gw_id", "boot_id", "gw_seq"]
VOTING = ("approver_key.", "approval.", "grant.", "break_glass.")


def utc(milliseconds):
    return f"{datetime.fromtimestamp(milliseconds // 1000, timezone.utc):%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def cell(value):
    """A value as pack.md, 5 writes it into CSV."""
    text = {None: "", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    if text is None:
        listed = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text = value if isinstance(value, str) else listed
        text = "'" + text if isinstance(value, str) and text[:1] in tuple("=+-@\t\r") else text
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


class Pack:
    """What stands on the log in a pack: openings, tables, counts, samples."""

    def __init__(self, source, log, manifest, report):
        self.source, self.log, self.manifest, self.report = source, log, manifest, report
        self.start, self.end, self.opened, self.unopened, self.rows = manifest["from_leaf"], manifest["to_leaf"], set(), {}, {}

    def check(self):
        """pack.md, 9, from 3 on."""
        with at("manifest.json", "from_leaf, to_leaf"):
            size, times = self.log.size, self.log.times
            start = next((at_ for at_ in range(size) if times[at_] >= self.manifest["from"]), size)
            end = next((at_ for at_ in range(start, size) if times[at_] >= self.manifest["to"]), size)
            need((self.start, self.end, self.log.checkpoint.root) == (start, end, unbase64(self.manifest["root"])), (start, end))
        for part in (self.check_openings, self.check_tables, self.check_population, self.check_samples):
            with self.report.part():
                part()

    def lines(self, file, most=4 * MIB):
        """The lines of a file; each ends in LF, and is not larger than that."""
        rest = b""
        for piece in self.source.chunks(file):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            with at(file):
                need(len(rest) <= most, f"lines of at most {most} bytes", "a longer one")
        with at(file):
            need(not rest, "LF at the end", rest[-20:])

    def check_openings(self):
        """pack.md, 4: the private records are those that leaves commit to, and say what holds together."""
        for line in self.lines("unopened.jsonl"):
            with at("unopened.jsonl", line[:80].decode(errors="replace")):
                said = canonical(line)
                leaf = self.log.leaf(said["leaf"])[0]
                need(leaf["t"] == said["type"] and leaf["sid"] in (None, said["session"]), f"{leaf['t']} of {leaf['sid']}", said)
                session = self.log.sessions.get(said["session"])
                epoch = (leaf["rc"], month_of(int(leaf["at"])))
                gone = session.deleted if session else epoch in self.log.deleted
                need(gone or said["why"] == "missing", "a leaf that says that this was deleted", said)
                self.unopened[said["leaf"]] = said["why"]
        votes, last = Votes(), -1
        lost = any(self.log.types[index].startswith(VOTING) for index in self.unopened)
        for line in self.lines("openings.jsonl"):
            with at("openings.jsonl", f"after leaf {last}"):
                match = OPENING.fullmatch(line)
                need(match and int(match[1]) > last and int(match[1]) not in self.unopened, "an opening of a later leaf", line[:80])
            last = int(match[1])
            leaf = self.log.leaf(last)[0]
            with at("openings.jsonl", f"leaf {last}"):
                event = canonical(match[2])
                bound = b"doorward/commit/v1\0" + leaf["t"].encode() + b"\0" + match[2]
                found = b64(hmac.new(unbase64(match[3].decode()), bound, "sha256").digest())
                need(found == leaf["c"], f"commitment {leaf['c']}", found)
                said = (event["type"], event["at"], event["session"] if leaf["sid"] else None)
                need(said == (leaf["t"], int(leaf["at"]), leaf["sid"]), leaf, said)
            with at("openings.jsonl", f"leaf {last}", Gap if lost else Broken):
                votes.add(re.sub(r"\.[0-9]+$", "", leaf["gw"]), event["type"], event["actor"], event["at"], event["body"])
            self.opened.add(last)
        for index, type_ in enumerate(self.log.types):
            with at("openings.jsonl", f"leaf {index}"):
                need(not type_.startswith(VOTING) or index in self.opened or index in self.unopened, f"an opening of {type_}", "none")
        self.report.counts.update({"opened records": len(self.opened), "signatures of votes": votes.signatures})
        with at("unopened.jsonl", kind=Gap):
            need("missing" not in self.unopened.values(), "every record that is not destroyed", "some that are missing")

    def check_tables(self):
        """pack.md, 5: rows stand on leaves, and both forms of a table are the same."""
        for file in sorted(each for each in self.source.sizes if re.fullmatch(r"(tables/[^/]+|exceptions)\.jsonl", each)):
            with self.report.part():
                rows, columns, digest = [], None, hashlib.sha256()
                for number, line in enumerate(self.lines(file), 1):
                    with at(file, f"row {number}"):
                        row = parse_json(line)
                        columns = columns or list(row)
                        need(list(row) == columns and columns[:6] == COMMON and columns[-1] == "leaves", "the table's columns", list(row))
                        if number == 1:
                            digest.update(",".join(columns).encode() + b"\r\n")
                        index = row["leaf_index"]
                        leaf, _ = self.log.leaf(index)
                        said = [index, self.log.hashes[index].hex(), utc(int(leaf["at"])), leaf["gw"], leaf["boot"], int(leaf["seq"])]
                        need([row[each] for each in COMMON] == said, said, [row[each] for each in COMMON])
                        self._rests(index, row["leaves"])
                        digest.update((",".join(map(cell, row.values())) + "\r\n").encode())
                        rows.append(index)
                self.rows[os.path.basename(file)[:-6]] = rows
                self.report.counts["rows"] += len(rows)
                with at(file[:-5] + "csv"):
                    said = hashlib.sha256(self.source.read(file[:-5] + "csv", 1 << 32)) if rows else digest
                    need(said.digest() == digest.digest(), f"the rows of {file}", "others")

    def _rests(self, index, leaves):
        spans = [tuple(map(int, each.split("-"))) for each in leaves if isinstance(each, str)]
        need(all(0 <= first <= last < self.log.size for first, last in spans), "spans of leaves", spans)
        for each in {index, *(each for each in leaves if not isinstance(each, str))}:
            spanned = each == index and any(first <= each <= last for first, last in spans)
            if not (spanned or each in self.opened or each in self.unopened):
                need(self.log.leaf(each)[0]["c"] is None, f"an opening of leaf {each}", "none")

    def check_population(self):
        """pack.md, 6, counted anew."""
        with at("population.json"):
            said, period = canonical(self.source.read("population.json")), range(self.start, self.end)
            types = Counter(self.log.types[self.start : self.end])
            need((said["from_leaf"], said["to_leaf"], said["leaves"]) == (self.start, self.end, types), dict(types), said["leaves"])
            need({each["table"] for each in said["tables"]} == set(self.rows) - {"exceptions"}, sorted(self.rows), "other tables")
        for each in said["tables"]:
            with self.report.part(), at("population.json", each["table"]):
                rows = self.rows[each["table"]]
                counts = (len(rows), sum(index < self.start for index in rows))
                need((each["rows"], each["carried"]) == counts, counts, (each["rows"], each["carried"]))
                for type_, told in each["reconcile"].items():
                    of = [{i for i in where if i in period and self.log.types[i] == type_} for where in (rows, self.unopened)]
                    counts = {"leaves": types[type_], "rows": len(of[0]), "unopened": len(of[1])}
                    counts["ok"] = counts["leaves"] == counts["rows"] + counts["unopened"]
                    need(told == counts and counts["ok"], f"{type_} {counts}, all in it", told)

    def check_samples(self):
        """pack.md, 8: nobody chose the sample; its proofs and recordings hold."""
        if "samples/sample.json" in self.source.sizes:
            with at("samples/sample.json"):
                said, auditor = canonical(self.source.read("samples/sample.json")), b""
                auditor = said["auditor"].encode()
                stamps = sorted(each for each in self.source.sizes if re.match(rf"log/tsr/{self.log.size}[-.].*tsr$", each))
                parts = [self.log.checkpoint.raw, self.source.read(stamps[0]) if stamps else b""]
                head = b"doorward/sample/v1\0" + len(auditor).to_bytes(4, "big") + auditor
                seed = sha256(head, *map(sha256, parts))
                need(said["seed"] == seed.hex(), f"seed {seed.hex()}", said["seed"])
                for each in said["samples"]:
                    rows = sorted(self.rows[each["table"]], key=lambda index: (sha256(seed, self.log.hashes[index]), index))
                    wanted = (len(rows), rows[: each["k"]])
                    need((each["population"], each["leaves"]) == wanted, wanted, each["leaves"])
        for file in self.source.sizes:
            with self.report.part(), at(file):
                if file.endswith(".tlog-proof"):
                    self._check_proof(self.source.read(file, MIB))
                elif file.endswith(".dwr"):
                    sid = canonical_row(self.source.read(os.path.dirname(file) + "/row.json"))["sid"]
                    key = bytes.fromhex(self.source.read(os.path.dirname(file) + "/recording.key", 65).decode().strip())
                    check_recording(self.source, file, sid, self.log.sessions[sid], key)
                    how = "opened recordings" if zstandard else "recordings under their keys, not unpacked (no zstandard)"
                    self.report.counts[how] += 1

    def _check_proof(self, raw):
        head, _, checkpoint = raw.partition(b"\n\n")
        title, extra, index, *proof = head.decode().split("\n")
        need(title == "c2sp.org/tlog-proof@v1" and extra[:6] == "extra " and index[:6] == "index ", "a tlog-proof", head[:80])
        need(checkpoint == self.log.checkpoint.raw, "log/checkpoint.end", checkpoint[:80])
        root = root_by_proof(int(index[6:]), self.log.size, sha256(b"\0", unbase64(extra[6:])), [unbase64(each) for each in proof])
        need(root == self.log.checkpoint.root, f"root {self.log.checkpoint.root.hex()}", root.hex())


def canonical_row(raw):
    return parse_json(raw)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Checks a Doorward record or evidence pack. Exit code 0: sound. 1: broken. 2: incomplete.")
    parser.add_argument("path", help="a pack (a folder or a zip), or a data directory with log/ and recordings/")
    parser.add_argument("--trust", required=True, help="a file with a tlog-policy or one verifier key, from its owner")
    parser.add_argument("--kept", action="append", default=[], help="a checkpoint that was kept elsewhere")
    parser.add_argument("--tsa", help="certificates of time stamping authorities, PEM; else those in the pack are used")
    given = parser.parse_args(argv)

    def read(name):
        with open(name, "rb") as stream:
            return stream.read(1 << 20)

    try:
        kept = [(f"--kept {name}", read(name)) for name in given.kept]
        report = check(given.path, read(given.trust).decode(), kept, read(given.tsa) if given.tsa else b"")
    except (OSError, UnicodeDecodeError) as error:
        parser.error(str(error))
    for name, count in report.counts.items():
        print(f"{count:>12,} {name}")
    for word, spots in (("BROKEN", report.faults), ("INCOMPLETE", report.gaps)):
        for spot in spots[:100]:
            print(ascii(f"{word}: {spot.file}: {spot.place}: expected {spot.expected}, found {spot.found}")[1:-1])
    print(("SOUND", "BROKEN", "INCOMPLETE")[report.code])
    return report.code


if __name__ == "__main__":
    sys.exit(main())
