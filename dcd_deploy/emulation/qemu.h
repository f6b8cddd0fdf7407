/* The part of QEMU's plugin interface, version 1, that the counter uses. QEMU 4.2 to 8 accept it.
 *
 * Debian ships neither this header nor a package that has it, so the prototypes are declared here.
 */
#ifndef QEMU_H
#define QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef uint32_t access_info;
struct qemu_plugin_tb;   /* a block of guest instructions that is being translated */
struct qemu_plugin_insn; /* one of them */
struct qemu_info;

enum { INLINE_ADD_U64 = 0 };
enum { NO_REGISTERS = 0 };
enum { LOADS_AND_STORES = 3 };

typedef void when_done(plugin_id id);
typedef void when_translated(plugin_id id, struct qemu_plugin_tb *block);
typedef void when_accessed(unsigned cpu, access_info info, uint64_t address, void *data);
typedef void when_started(plugin_id id, unsigned cpu);
typedef void when_called(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                         uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern unsigned qemu_plugin_mem_size_shift(access_info info);
extern bool qemu_plugin_mem_is_store(access_info info);

extern void qemu_plugin_reset(plugin_id id, when_done *callback);
extern void qemu_plugin_register_vcpu_init_cb(plugin_id id, when_started *callback);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, when_called *callback);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, when_translated *callback);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter,
                                                     uint64_t amount);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, when_accessed *callback, int registers,
                                             int which, void *data);
#endif
