/* A QEMU plugin that counts what one inference of an aarch64 program does.
 *
 *     qemu-aarch64 -plugin armcount.so,out=FILE,mark=NUMBER,tick=NUMBER,l1=BYTES,l1ways=N,l2=BYTES,l2ways=N ...
 *
 * The program brackets what is to be counted with a system call that nothing else makes (mark). The first one switches
 * the counting on, which slows the program down, so that its start goes at full speed. Each later one writes a line
 * "run" with the counts since the one before. With tick, another system call writes a line "tick" in between, with the
 * counts since the last line of either kind.
 *
 * Counters are plain numbers: the program has one thread, and a second one is reported ("threads") for the reader to
 * refuse.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "a64.h"
#include "cache.h"
#include "qemu.h"

EXPORTED int qemu_plugin_version = 1;

enum counter { INSTRUCTIONS, FMLAS, DOTS, MMLAS, BYTES_LOADED, BYTES_STORED, L1_MISSES, L2_MISSES, WRITTEN_BACK, COUNTERS };
static const char *const NAMES[COUNTERS] = {"instructions", "fmla", "dot", "mmla", "bytes_loaded",
                                            "bytes_stored", "l1_misses", "l2_misses", "lines_written_back"};

static uint64_t counted[COUNTERS], at_run[COUNTERS], at_line[COUNTERS];
static struct memory memory;
static int64_t mark = -1, tick = -1;
static unsigned threads;
static bool counting;
static FILE *out;

static void on_access(unsigned cpu, access_info info, uint64_t address, void *data) {
    (void)cpu, (void)data;
    unsigned bytes = 1u << qemu_plugin_mem_size_shift(info);
    bool store = qemu_plugin_mem_is_store(info);
    counted[store ? BYTES_STORED : BYTES_LOADED] += bytes;
    touch_bytes(&memory, address, bytes, store);
}

static void on_translated(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    uint64_t of_kind[MMLA + 1] = {0};
    size_t length = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
        of_kind[kind_of(word)]++;
        if (may_access_memory(word))
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGISTERS, LOADS_AND_STORES, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counted[INSTRUCTIONS], length);
    const enum counter counters[] = {[FMLA] = FMLAS, [DOT] = DOTS, [MMLA] = MMLAS};
    for (enum kind kind = FMLA; kind <= MMLA; kind++)
        if (of_kind[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counted[counters[kind]], of_kind[kind]);
}

static void write_line(const char *title, const uint64_t *since) {
    counted[L1_MISSES] = memory.l1_misses;
    counted[L2_MISSES] = memory.l2_misses;
    counted[WRITTEN_BACK] = memory.written_back;
    fputs(title, out);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, " %" PRIu64, counted[i] - since[i]);
    fprintf(out, " %u\n", threads);
    fflush(out);
}

static void register_all(plugin_id id);

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                    uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == mark && !counting) {
        counting = true;
        qemu_plugin_reset(id, register_all); /* translate everything anew, with the counting in it */
    } else if (number == mark) {
        write_line("run", at_run);
        memcpy(at_run, counted, sizeof counted);
        memcpy(at_line, counted, sizeof counted);
    } else if (number == tick && counting) {
        write_line("tick", at_line);
        memcpy(at_line, counted, sizeof counted);
    }
}

static void on_thread(plugin_id id, unsigned cpu) {
    (void)id, (void)cpu;
    threads++;
}

static void register_all(plugin_id id) {
    qemu_plugin_register_vcpu_init_cb(id, on_thread);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    if (counting)
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
}

static bool number_of(const char *argument, const char *name, uint64_t *value) {
    size_t length = strlen(name);
    return !strncmp(argument, name, length) && argument[length] == '=' &&
           sscanf(argument + length + 1, "%" SCNu64, value) == 1;
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv) {
    (void)info;
    uint64_t value, l1 = 0, l1_ways = 0, l2 = 0, l2_ways = 0;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
        else if (number_of(argv[i], "mark", &value))
            mark = (int64_t)value;
        else if (number_of(argv[i], "tick", &value))
            tick = (int64_t)value;
        else if (!number_of(argv[i], "l1", &l1) && !number_of(argv[i], "l1ways", &l1_ways) &&
                 !number_of(argv[i], "l2", &l2) && !number_of(argv[i], "l2ways", &l2_ways))
            return -1;
    }
    if (!out || !make_cache(&memory.l1, l1, (unsigned)l1_ways) || !make_cache(&memory.l2, l2, (unsigned)l2_ways))
        return -1;
    fputs("line", out);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, " %s", NAMES[i]);
    fputs(" threads\n", out);
    register_all(id);
    return 0;
}
