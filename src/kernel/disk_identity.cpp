#include "src/kernel/disk_identity.hpp"

#include "async/with_timeout.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/end.hpp"

#include <algorithm>

namespace inflight::kernel {

void disk_identity::ask() noexcept {
    if (!asked_) {
        asked_ = true;
        if (!scope_.spawn(ask_device().named("serial"))) {
            fail("no memory is left for a task that asks a disk for its serial number: give the machine more (./run "
                 "--memory)");
        }
    }
}

async::task<void> disk_identity::ask_device() {
    block::virtio_blk::id_string id{}; // separate: after an error this is not the serial number
    const block::status outcome = co_await disk_.get_id(id);
    if (outcome == block::status::ok) {
        id_ = id;
    }
    outcome_ = outcome;
    answered_.set();
}

async::task<void> disk_identity::answer(arch::ticks deadline) {
    const arch::ticks now = async::executor::current().now();
    if (!answered_.is_set() && now < deadline) {
        static_cast<void>(co_await async::with_timeout(answered_.wait(async::stop_token{}), deadline - now));
    }
}

std::string_view disk_identity::serial() const noexcept {
    return {id_.data(), static_cast<std::size_t>(std::find(id_.begin(), id_.end(), '\0') - id_.begin())};
}

void disk_identity::print_json() const noexcept {
    if (outcome_ == block::status::ok) {
        console::print("\"serial\":\"%s\"", printable().c_str());
    } else {
        console::print("\"serial\":null");
    }
}

} // namespace inflight::kernel
