#include "src/kernel/disk_notes.hpp"

#include "src/kernel/console.hpp"

#include <algorithm>

namespace inflight::kernel {

disk_notes::disk_notes(const char (&name)[8], const block::disk& disk, std::uint32_t request_timeout) noexcept
    : disk_{disk}, request_timeout_{request_timeout} {
    std::copy(std::begin(name), std::end(name), std::begin(name_));
}

void disk_notes::report(void* self, block::disk_event what) noexcept {
    static_cast<const disk_notes*>(self)->print(what);
}

void disk_notes::print(block::disk_event what) const noexcept {
    switch (what) {
    case block::disk_event::late:
        console::print("note: %s has completed nothing for %u s, although it has requests\n", name_, request_timeout_);
        break;
    case block::disk_event::reset_begins: console::print("note: %s is being reset\n", name_); break;
    case block::disk_event::reset_ended: console::print("note: %s works again\n", name_); break;
    case block::disk_event::lost:
        console::print("note: %s is lost: %s\n", name_, virtio::to_string(disk_.failure()));
        break;
    case block::disk_event::short_lengths:
        console::print("note: %s reports used lengths that are too short: its status bytes are believed\n", name_);
        break;
    case block::disk_event::queues_reset:
        console::print("note: interrupts of %s had stopped: the queues that send them were reset\n", name_);
        break;
    }
}

} // namespace inflight::kernel
