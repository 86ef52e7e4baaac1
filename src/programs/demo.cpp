// demo: runs several programs in turn.

#include "src/kernel/console.hpp"
#include "src/kernel/program.hpp"

namespace inflight::kernel {

namespace {

// Finds a program of this kernel. Ends the machine with one sentence if the kernel was built without it.
async::task<bool> run_other(std::string_view name, const environment& here) {
    const program* const other = program::find(name);
    if (other == nullptr) {
        fail("demo: this kernel has no program '%.*s'", static_cast<int>(name.size()), name.data());
    }
    return other->run(here);
}

async::task<bool> run_demo(const environment& here) {
    require_disks(here);
    bool passed = co_await run_other("info", here);

    const virtio_device* first = nullptr;
    const virtio_device* last = nullptr;
    for (const virtio_device& device : here.devices) {
        passed = !is_unusable(device, "demo") && passed;
        if (device.disk != nullptr) {
            first = first == nullptr ? &device : first;
            last = &device;
        }
    }
    const environment digest{here.machine, here.wanted, {first, 1}, here.pci, here.free_memory};
    const environment iops{here.machine, here.wanted, {last, 1}, here.pci, here.free_memory};
    console::print("\n");
    passed = co_await run_other("digest", digest) && passed;
    console::print("\n");
    passed = co_await run_other("iops", iops) && passed;
    co_return passed;
}

const program registered{"demo", "info, the digest of vda, and the table of iops on the last disk", run_demo};

} // namespace

} // namespace inflight::kernel
