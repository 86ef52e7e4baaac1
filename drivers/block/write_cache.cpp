#include "inflight/drivers/block/write_cache.hpp"

namespace inflight::block {

void write_cache::request::begin() noexcept {
    pending_ = true;
    origin_ = &async::executor::current();
    if (origin_ == cache_.home_) {
        cache_.arrive(*this);
    } else {
        message_.post(*cache_.home_);
    }
}

void write_cache::arrive(request& arrived) noexcept {
    arrived_.push_back(arrived);
    recovery_.request(recovery::cause::write_cache);
}

void write_cache::resumed() noexcept {
    while (async::operation* const first = switched_.pop_front()) {
        request& each = static_cast<request&>(*first);
        each.pending_ = false; // from the post on, the origin's
        if (each.origin_ == home_) {
            home_->make_ready(each);
        } else {
            each.origin_->post(each);
        }
    }
}

} // namespace inflight::block
