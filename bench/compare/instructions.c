// A plugin of QEMU's that counts the guest's instructions, of all harts, from outside of the guest:
//
//     -plugin file=instructions.so,count=FILE
//
// keeps the count in the first eight bytes of FILE, which has to have them. What is counted is every instruction that
// is begun, in every mode: firmware, kernel, user. A hart that waits counts nothing. What is used of QEMU's interface
// for plugins (qemu-plugin.h, which the packages leave out) is declared here; it is the same in all versions of it.
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*vcpu_tb_trans)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*vcpu_udata)(unsigned int vcpu, void* userdata);
enum { no_registers = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, vcpu_tb_trans);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, vcpu_udata, int registers, void* userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t index);

// INTERFACE is the version that the QEMU at hand wants to hear of.
__attribute__((visibility("default"))) int qemu_plugin_version = INTERFACE;

static uint64_t* count;

static void count_one(unsigned int vcpu, void* userdata) {
    (void)vcpu;
    (void)userdata;
    __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(block, i), count_one, no_registers, NULL);
    }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info* info, int argc, char** argv) {
    (void)info;
    static const char key[] = "count=";
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1) != 0) {
        return 1;
    }
    const int file = open(argv[0] + sizeof key - 1, O_RDWR | O_CLOEXEC);
    void* const page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) {
        return 1;
    }
    count = page;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
