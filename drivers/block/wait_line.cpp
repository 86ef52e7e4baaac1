#include "inflight/drivers/block/wait_line.hpp"

#include <memory>
#include <new>

namespace inflight::block {

void wait_line::register_stop(operation& waiting) noexcept {
    ::new (waiting.stopping.registration) async::stop_callback{
        waiting.stopping.token, [](void* stopped) noexcept { cancel(*static_cast<operation*>(stopped)); }, &waiting};
}

void wait_line::unregister_stop(operation& waiting) noexcept {
    std::destroy_at(std::launder(reinterpret_cast<async::stop_callback*>(waiting.stopping.registration)));
}

void wait_line::remove(operation& waiting) noexcept {
    static_cast<void>(line_.remove(waiting));
    leave(waiting);
}

// The callback is not destroyed, because it is what calls.
void wait_line::cancel(operation& stopped) noexcept {
    wait_line* const line = stopped.stopping.line;
    if (line == nullptr || !line->line_.remove(stopped)) {
        return; // the device has it
    }
    if (stopped.state == operation_state::whole_in_line) {
        stopped.begin_pieces();
    }
    stopped.pieces.in_line = false;
    line->end(stopped, status::cancelled);
}

void wait_line::end(operation& left, status outcome) noexcept {
    if (left.pieces.failure == status::ok) { // else a piece has failed before
        left.pieces.failure = outcome;
    }
    left.length = 0;
    if (left.pieces.in_flight == 0) {
        left.end();
        executor_->make_ready(left);
    }
}

} // namespace inflight::block
