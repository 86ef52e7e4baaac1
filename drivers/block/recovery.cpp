#include "inflight/drivers/block/recovery.hpp"

namespace inflight::block {

void recovery::open() noexcept {
    home_ = &async::executor::current();
    state_ = state::resuming;
    command_all(command::open);
}

void recovery::request(causes_t causes) noexcept {
    if (home_ == &async::executor::current()) {
        pending_ |= causes;
        begin();
        return;
    }
    // acq_rel: whoever finds it clear posts the message; pairs with the exchange in take_requests(), which takes what
    // was requested until then.
    if (requested_.fetch_or(causes, std::memory_order_acq_rel) == 0) {
        message_.post(*home_);
    }
}

void recovery::take_requests() noexcept {
    pending_ |= requested_.exchange(0, std::memory_order_acq_rel);
    begin();
}

void recovery::begin() noexcept {
    if ((pending_ & cause::configuration) != 0 && device_->needs_reset()) {
        pending_ |= cause::needs_reset;
    }
    if (state_ == state::running) {
        state_ = state::quiescing;
        quiesces_for_reset_ = (pending_ & ~cause::without_reset) != 0;
        command_all(command::quiesce);
    }
}

// All channels are quiesced. Nothing that the device was given is touched before it has confirmed its reset.
void recovery::change() noexcept {
    causes_ = pending_ | held_;
    pending_ = 0;
    was_reset_ = !lost() && (causes_ & ~cause::without_reset) != 0; // and a device that was reset has nothing
    held_ = !lost() && !was_reset_ && !device_->is_drained(causes_) ? causes_ & cause::when_drained : 0;
    if (!lost() && !was_reset_ && held_ == 0 && (causes_ & cause::queue_reset) != 0) {
        was_reset_ = !device_->reset_queues();
    }
    if (was_reset_) {
        ++resets_;
        lost_.store(!device_->reset(causes_), std::memory_order_relaxed);
        device_->reset_ended();
    } else if (!lost() && (causes_ & cause::configuration) != 0) {
        device_->read_configuration();
    }
    if ((causes_ & cause::write_cache) != 0 && held_ == 0) {
        device_->switch_write_cache();
    }
}

void recovery::command_all(command next) noexcept {
    reports_missing_ = 0;
    for (participant* each = participants_; each != nullptr; each = each->next_) {
        ++reports_missing_;
    }
    for (participant* each = participants_; each != nullptr; each = each->next_) {
        each->command_ = next;
        if (each->hart_ == home_) {
            each->obey(next);
            reported();
        } else {
            each->message_.post(*each->hart_);
        }
    }
}

void recovery::participant::command_arrives() noexcept {
    if (reports_) {
        reports_ = false;
        recovery_->reported();
        return;
    }
    obey(command_);
    reports_ = true;
    message_.post(*recovery_->home_);
}

void recovery::reported() noexcept {
    if (--reports_missing_ != 0) {
        return;
    }
    if (state_ == state::quiescing) {
        change();
        state_ = state::resuming;
        command_all(held_ != 0 ? command::hold : command::resume);
        return;
    }
    state_ = state::running;
    if (held_ == 0) {
        device_->resumed();
    }
    if (pending_ != 0) {
        begin();
    }
}

} // namespace inflight::block
