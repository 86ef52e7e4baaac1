// demo: a look at everything.

#include "bench/iops.hpp"
#include "src/console.hpp"
#include "src/programs/programs.hpp"

namespace inflight::kernel {

async::task<bool> run_demo(const environment& here) {
    require_disks(here);
    bool passed = co_await run_info(here);

    const virtio_device* first = nullptr;
    const virtio_device* last = nullptr;
    for (const virtio_device& device : here.devices) {
        if (device.disk != nullptr) {
            first = first == nullptr ? &device : first;
            last = &device;
        }
    }
    const environment digest{here.machine, here.wanted, {first, 1}, here.free_memory};
    const environment iops{here.machine, here.wanted, {last, 1}, here.free_memory};
    console::print("\n");
    passed = co_await run_digest(digest) && passed;
    console::print("\n");
    passed = co_await bench::run_iops(iops) && passed;
    co_return passed;
}

} // namespace inflight::kernel
