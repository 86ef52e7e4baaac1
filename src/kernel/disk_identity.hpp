// Identifies a disk: its serial number, by which ./run knows it, and whether programs may overwrite it.
//
// The order of the slots does not identify disks: another device may come before those that ./run attached.
#pragma once

#include "async/counting_scope.hpp"
#include "async/event.hpp"
#include "async/task.hpp"
#include "drivers/block/disk.hpp"
#include "src/kernel/escaped_text.hpp"

#include <string_view>

namespace inflight::kernel {

// Never destroyed: a device that answers late may still write to this memory.
class disk_identity {
  public:
    using printable_serial = escaped_text<block::virtio_blk::id_length>;

    explicit disk_identity(block::disk& disk) noexcept : disk_{disk} {}

    // Requests the serial number from the device. Only the first call does so. Ends the machine with one sentence if
    // there is no memory for the task that awaits the reply.
    void ask() noexcept;

    // Waits for the reply, until `deadline` at the latest.
    async::task<void> answer(arch::ticks deadline);

    // Returns ok if the device reported its serial number, the error if it reported one, and timed_out if it has not
    // replied.
    [[nodiscard]] block::status outcome() const noexcept { return outcome_; }

    // Returns the serial number without its padding; empty if it is unknown. It may contain any byte but NUL: do not
    // print it unescaped.
    [[nodiscard]] std::string_view serial() const noexcept;
    [[nodiscard]] printable_serial printable() const noexcept { return printable_serial{serial()}; }

    // Prints the serial number as a member of a JSON object, without a comma: null if it is unknown.
    void print_json() const noexcept;

    // Returns why programs must not write to the disk; nullptr if they may. They must not before identify_disks() has
    // decided.
    [[nodiscard]] const char* write_refusal() const noexcept { return write_refusal_; }
    void set_write_refusal(const char* why) noexcept { write_refusal_ = why; }

  private:
    async::task<void> ask_device();

    block::disk& disk_;
    block::virtio_blk::id_string id_{};
    block::status outcome_ = block::status::timed_out;
    bool asked_ = false;
    const char* write_refusal_ = "it has not been asked for its serial number";
    async::event answered_;
    async::counting_scope scope_; // of the task that awaits the reply
};

} // namespace inflight::kernel
