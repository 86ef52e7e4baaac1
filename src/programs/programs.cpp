#include "src/programs/programs.hpp"

#include "bench/costs.hpp"
#include "bench/iops.hpp"
#include "bench/workload.hpp"
#include "src/end.hpp"

namespace inflight::kernel {

namespace {

constexpr program all_programs[] = {
    {"demo", "info, the digest of vda, and the table of iops on the last disk", run_demo},
    {"info", "what devices there are, and what the disks say about themselves", run_info},
    {"digest", "reads every sector of every disk, and prints what POSIX cksum prints for the same image", run_digest},
    {"verify", "writes every disk in random order, reads all of it back, and checks it", run_verify},
    {"iops", "measures IOPS, latency, notifications and interrupts per I/O", bench::run_iops},
    {"bench", "runs a fio job file, and reports what fio would, and more", bench::run_bench},
    {"costs", "counts the guest instructions of the runtime's steps, from a yield to a spawn and join",
     bench::run_costs},
    {"crash", "ends in a panic on purpose: shows what a panic looks like", run_crash},
};

} // namespace

std::span<const program> programs() noexcept {
    return all_programs;
}

void require_disks(const environment& here) noexcept {
    for (const virtio_device& device : here.devices) {
        if (device.disk != nullptr) {
            return;
        }
    }
    fail("there is no virtio-blk device in any of the %lu slots: give the machine a disk (./run --disk)",
         here.machine.virtio.size());
}

} // namespace inflight::kernel
