/* Two levels of a data cache as a model: set-associative, least recently used goes, write-allocate, write-back.
 *
 * No prefetch, no instructions, no other core, virtual addresses. A miss of L1 reads the line from L2; a miss of L2
 * reads it from beyond. A dirty line that has to go is written one level out, where it takes a place without being
 * read, since it is whole. The levels neither include nor exclude each other.
 */
#ifndef CACHE_H
#define CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { LINE_SHIFT = 6 }; /* lines of 64 bytes, as in all cores here */

/* Of each set, the entries of its lines, the most recently used first: line number * 2 + dirty. */
struct cache {
    uint64_t sets;
    unsigned ways;
    uint64_t *entries;
};

struct memory {
    struct cache l1, l2;
    uint64_t l1_misses, l2_misses, written_back; /* lines; the last from L2 outwards */
};

#define NO_LINE UINT64_MAX

static bool make_cache(struct cache *cache, uint64_t bytes, unsigned ways) {
    if (ways == 0 || bytes == 0 || bytes % ((uint64_t)ways << LINE_SHIFT))
        return false;
    cache->ways = ways;
    cache->sets = (bytes >> LINE_SHIFT) / ways;
    cache->entries = malloc(cache->sets * ways * sizeof *cache->entries);
    if (!cache->entries)
        return false;
    for (uint64_t i = 0; i < cache->sets * ways; i++)
        cache->entries[i] = NO_LINE;
    return true;
}

/* Touch a line and return whether it was there. The dirty line that had to go for it, or NO_LINE, is *victim. */
static bool touch(struct cache *cache, uint64_t line, bool store, uint64_t *victim) {
    uint64_t *set = cache->entries + line % cache->sets * cache->ways;
    unsigned way = 0, last = cache->ways - 1;
    while (way < last && set[way] >> 1 != line)
        way++;
    uint64_t found = set[way];
    bool hit = found >> 1 == line;
    *victim = !hit && found != NO_LINE && (found & 1) ? found >> 1 : NO_LINE;
    for (; way > 0; way--)
        set[way] = set[way - 1];
    set[0] = line << 1 | (store || (hit && (found & 1)));
    return hit;
}

static void touch_l2(struct memory *memory, uint64_t line, bool whole_line_written) {
    uint64_t victim;
    if (!touch(&memory->l2, line, whole_line_written, &victim)) {
        memory->l2_misses += !whole_line_written;
        memory->written_back += victim != NO_LINE;
    }
}

static void touch_line(struct memory *memory, uint64_t line, bool store) {
    uint64_t victim;
    if (touch(&memory->l1, line, store, &victim))
        return;
    memory->l1_misses++;
    touch_l2(memory, line, false);
    if (victim != NO_LINE)
        touch_l2(memory, victim, true);
}

static void touch_bytes(struct memory *memory, uint64_t address, unsigned bytes, bool store) {
    uint64_t first = address >> LINE_SHIFT, last = (address + bytes - 1) >> LINE_SHIFT;
    for (uint64_t line = first; line <= last; line++)
        touch_line(memory, line, store);
}

#endif
