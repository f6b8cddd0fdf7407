"""What the counting plugin tells apart and models, compiled for this machine: instructions, memory, caches."""

import ctypes
import random
import subprocess
from pathlib import Path

import pytest

from dcd_deploy.emulation import plugin

SOURCE = Path(plugin.__file__).parent


OTHER, FMLA, DOT, MMLA = range(4)


# as binutils' aarch64 assembler writes them
WORDS = {
    FMLA: {
        "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20,
        "fmls v0.2d, v1.2d, v2.2d": 0x4EE2CC20,
        "fmla v0.8h, v1.8h, v2.8h": 0x4E420C20,
        "fmls v3.4h, v1.4h, v2.4h": 0x0EC20C23,
        "fmla v16.4s, v17.4s, v2.s[3]": 0x4FA21A30,
        "fmls v16.4s, v17.4s, v2.s[1]": 0x4FA25230,
        "fmla v0.2d, v1.2d, v2.d[1]": 0x4FC21820,
        "fmla v0.8h, v1.8h, v2.h[7]": 0x4F321820,
        "fmls v0.8h, v1.8h, v2.h[2]": 0x4F225020,
        "fmla s0, s1, v2.s[1]": 0x5FA21020,
        "fmadd s0, s1, s2, s3": 0x1F020C20,
        "fnmsub d0, d1, d2, d3": 0x1F628C20,
        "fmlal v0.4s, v1.4h, v2.4h": 0x4E22EC20,
        "fmlal2 v0.4s, v1.4h, v2.4h": 0x6E22CC20,
        "fmlal v0.4s, v1.4h, v2.h[3]": 0x4FB20020,
        "fmla z0.s, p0/m, z1.s, z2.s": 0x65A20020,
        "fmls z0.d, p1/m, z1.d, z2.d": 0x65E22420,
        "fmad z0.s, p0/m, z1.s, z2.s": 0x65A28020,
        "fmla z0.s, z1.s, z2.s[1]": 0x64AA0020,
        "fmla z0.d, z1.d, z2.d[1]": 0x64F20020,
        "fmla z0.h, z1.h, z2.h[5]": 0x646A0020,
    },
    DOT: {
        "sdot v0.4s, v1.16b, v2.16b": 0x4E829420,
        "udot v0.2s, v1.8b, v2.8b": 0x2E829420,
        "sdot v0.4s, v1.16b, v2.4b[3]": 0x4FA2E820,
        "udot v0.4s, v1.16b, v2.4b[1]": 0x6FA2E020,
        "usdot v0.4s, v1.16b, v2.16b": 0x4E829C20,
        "usdot v0.4s, v1.16b, v2.4b[2]": 0x4F82F820,
        "sudot v0.4s, v1.16b, v2.4b[2]": 0x4F02F820,
        "bfdot v0.4s, v1.8h, v2.8h": 0x6E42FC20,
        "bfdot v0.4s, v1.8h, v2.2h[1]": 0x4F62F020,
        "sdot z0.s, z1.b, z2.b": 0x44820020,
        "udot z0.s, z1.b, z2.b": 0x44820420,
        "sdot z0.s, z1.b, z2.b[1]": 0x44AA0020,
        "usdot z0.s, z1.b, z2.b": 0x44827820,
        "bfdot z0.s, z1.h, z2.h": 0x64628020,
    },
    MMLA: {
        "smmla v0.4s, v1.16b, v2.16b": 0x4E82A420,
        "ummla v0.4s, v1.16b, v2.16b": 0x6E82A420,
        "usmmla v0.4s, v1.16b, v2.16b": 0x4E82AC20,
        "bfmmla v0.4s, v1.8h, v2.8h": 0x6E42EC20,
        "smmla z0.s, z1.b, z2.b": 0x45029820,
        "ummla z0.s, z1.b, z2.b": 0x45C29820,
        "usmmla z0.s, z1.b, z2.b": 0x45829820,
        "bfmmla z0.s, z1.h, z2.h": 0x6462E420,
        "fmmla z0.s, z1.s, z2.s": 0x64A2E420,
    },
    OTHER: {
        "fmul v0.4s, v1.4s, v2.4s": 0x6E22DC20,
        "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420,
        "mla v0.4s, v1.4s, v2.4s": 0x4EA29420,
        "smlal v0.4s, v1.4h, v2.4h": 0x0E628020,
        "fmul v0.4s, v1.4s, v2.s[1]": 0x4FA29020,
        "fmulx v0.4s, v1.4s, v2.4s": 0x4E22DC20,
        "madd x0, x1, x2, x3": 0x9B020C20,
        "sqrdmulh v0.4s, v1.4s, v2.4s": 0x6EA2B420,
        "frecps v0.4s, v1.4s, v2.4s": 0x4E22FC20,
        "fadd z0.s, z1.s, z2.s": 0x65820020,
        "ldr q0, [x0], #16": 0x3CC10400,
        "fmov s0, #1.0": 0x1E2E1000,
        "ext v0.16b, v1.16b, v2.16b, #4": 0x6E022020,
        "nop": 0xD503201F,
    },
}


MEMORY = {
    "ld1 {v0.4s-v3.4s}, [x0], #64": 0x4CDF2800,
    "ldr q0, [x0], #16": 0x3CC10400,
    "ldp q0, q1, [x0]": 0xAD400400,
    "ldr x0, [x1, x2]": 0xF8626820,
    "stp q0, q1, [x0, #32]": 0xAD010400,
    "st1 {v0.4s}, [x0]": 0x4C007800,
    "ld1r {v0.4s}, [x0]": 0x4D40C800,
    "ldxr w0, [x1]": 0x885F7C20,
    "ldadd w0, w1, [x2]": 0xB8200041,
    "ld1w {z0.s}, p0/z, [x0]": 0xA540A000,
    "st1w {z0.s}, p0, [x0]": 0xE540E000,
}


NO_MEMORY = {
    "add x0, x1, x2": 0x8B020020,
    "b .": 0x14000000,
    "ret": 0xD65F03C0,
    "adr x0, .": 0x10000000,
    "svc #0": 0xD4000001,
    "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20,
    "fmla z0.s, p0/m, z1.s, z2.s": 0x65A20020,
}


HARNESS = """
#include "a64.h"
#include "cache.h"
int harness_kind(uint32_t word) { return kind_of(word); }
int harness_memory(uint32_t word) { return may_access_memory(word); }
static struct memory memory;
int harness_make(uint64_t l1, unsigned l1_ways, uint64_t l2, unsigned l2_ways) {
    memory = (struct memory){0};
    return make_cache(&memory.l1, l1, l1_ways) && make_cache(&memory.l2, l2, l2_ways);
}
void harness_touch(uint64_t address, unsigned bytes, int store) { touch_bytes(&memory, address, bytes, store); }
uint64_t harness_count(int which) {
    return which == 0 ? memory.l1_misses : which == 1 ? memory.l2_misses : memory.written_back;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The plugin's decoder and cache as a library, without QEMU; all warnings of gcc are errors."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "harness.c").write_text(HARNESS)
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{SOURCE}"]
    subprocess.run(["gcc", *flags, "-o", folder / "harness.so", folder / "harness.c"], check=True)
    library = ctypes.CDLL(str(folder / "harness.so"))
    library.harness_touch.argtypes = [ctypes.c_uint64, ctypes.c_uint, ctypes.c_int]
    library.harness_make.argtypes = [ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_uint]
    library.harness_count.restype = ctypes.c_uint64
    return library


def test_the_decoder_tells_instructions_apart(compiled):
    found = {text: compiled.harness_kind(word) for words in WORDS.values() for text, word in words.items()}
    assert found == {text: kind for kind, words in WORDS.items() for text in words}


def test_the_decoder_minds_every_bit_of_an_opcode(compiled):
    """A bit of the opcode flipped is another instruction: the mask of "fmla v0.4s, v1.4s, v2.4s" is not too wide."""
    word = WORDS[FMLA]["fmla v0.4s, v1.4s, v2.4s"]
    opcode_bits = [10, 11, 12, 13, 14, 15, 21, 24, 25, 26, 27, 28, 29, 31]
    assert [bit for bit in opcode_bits if compiled.harness_kind(word ^ (1 << bit)) == FMLA] == [13, 29]  # FMLAL, FMLAL2


def test_the_decoder_finds_loads_and_stores(compiled):
    assert all(compiled.harness_memory(word) for word in MEMORY.values())
    assert not any(compiled.harness_memory(word) for word in NO_MEMORY.values())


class PlainCache:
    """The cache that the plugin models, written the plain way: a list for each set, the most recent line first."""

    def __init__(self, size, ways):
        self.sets = [[] for _ in range(size // 64 // ways)]
        self.ways = ways

    def touch(self, line, dirty):
        """Return whether it hit, and the dirty line that went."""
        lines = self.sets[line % len(self.sets)]
        old = next((each for each in lines if each[0] == line), None)
        if old:
            lines.remove(old)
        lines.insert(0, (line, dirty or bool(old and old[1])))
        gone = lines.pop() if len(lines) > self.ways else (None, False)
        return old is not None, gone[0] if gone[1] else None


def plain_counts(l1, l2, accesses):
    first, second, counts = PlainCache(*l1), PlainCache(*l2), [0, 0, 0]

    def outer(line, whole):
        hit, gone = second.touch(line, whole)
        counts[1] += not hit and not whole
        counts[2] += gone is not None

    for address, size, store in accesses:
        for line in range(address // 64, (address + size - 1) // 64 + 1):
            hit, gone = first.touch(line, store)
            if not hit:
                counts[0] += 1
                outer(line, False)
                if gone is not None:
                    outer(gone, True)
    return counts


def test_the_cache_is_the_one_that_is_described(compiled):
    pick = random.Random(0)
    l1, l2 = (2048, 2), (8192, 4)
    accesses = []
    for _ in range(20_000):
        near = pick.random() < 0.6
        address = pick.randrange(3000 if near else 60_000)
        accesses.append((address, pick.choice([1, 2, 4, 8, 16]), pick.random() < 0.3))
    assert compiled.harness_make(*l1, *l2)
    for access in accesses:
        compiled.harness_touch(*map(int, access))
    found = [compiled.harness_count(i) for i in range(3)]
    assert found == plain_counts(l1, l2, accesses)
    assert all(count > 1000 for count in found)
    assert found != plain_counts(l1, (8192, 2), accesses)


@pytest.mark.parametrize("shape", [(0, 4), (2048, 0), (1000, 3)])
def test_no_cache_of_an_impossible_shape(compiled, shape):
    assert not compiled.harness_make(*shape, 8192, 4)
