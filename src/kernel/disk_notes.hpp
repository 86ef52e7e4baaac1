// Reports what happens to a disk while programs run, on the console.
//
//   note: vda has completed nothing for 30 s, although it has requests
//   note: vda is being reset
//   note: vda works again
//   note: vda is lost: the device did not confirm its reset within a second
//   note: vda reports used lengths that are too short: its status bytes are believed
//
// ./run reads the second: if the storage does not respond, QEMU blocks the machine in that reset, and reports nothing
// itself.
#pragma once

#include "drivers/block/disk.hpp"

#include <cstdint>

namespace inflight::kernel {

// Must live as long as the disk.
class disk_notes {
  public:
    // `request_timeout` is the disk's, in seconds.
    disk_notes(const char (&name)[8], const block::disk& disk, std::uint32_t request_timeout) noexcept;

    // For disk_options::report, with this as its context.
    static void report(void* self, block::disk_event what) noexcept;

  private:
    void print(block::disk_event what) const noexcept;

    char name_[8];
    const block::disk& disk_;
    std::uint32_t request_timeout_;
};

} // namespace inflight::kernel
