#include "bench/fio/request_source.hpp"

#include <algorithm>
#include <utility>

namespace inflight::bench {

namespace {

std::uint64_t saturated_product(std::uint64_t one, std::uint64_t other, std::uint64_t most) noexcept {
    std::uint64_t product = 0;
    return __builtin_mul_overflow(one, other, &product) || product > most ? most : product;
}

} // namespace

std::uint32_t largest_block(const job& of) noexcept {
    std::uint32_t largest = 0;
    for (const block_sizes& sizes : of.bs) {
        largest = std::max(largest, sizes.largest());
    }
    return largest;
}

request_source::request_source(const job& of, std::span<const job_place> places, std::uint64_t seed,
                               std::uint64_t io_size, kernel::memory& from) noexcept
    : job_{of},
      io_size_{io_size},
      visits_{from.create<visit>(
          places.size(),
          [&](std::size_t i) {
              return visit{.place = &places[i], .sequence = access_sequence{of, places[i].range, seed + i}};
          })},
      current_{visits_.data()} {}

void request_source::begin() noexcept {
    ios_left_ = all_ios();
    bytes_left_ = static_cast<std::int64_t>(
        job_.time_based || io_size_ == 0 ? no_limit : saturated_product(io_size_, job_.loops, no_limit));
}

// ---- passes ----

bool request_source::wants_pass(std::uint32_t begun) const noexcept {
    if (ios_left_ == 0 || bytes_left_ <= 0 || (begun != 0 && bytes_moved_ == moved_before_)) {
        return false;
    }
    return begun < job_.loops || (io_size_ > bytes_moved_ && io_size_ - bytes_moved_ >= largest_block(job_));
}

void request_source::begin_pass(std::uint32_t begun) noexcept {
    moved_before_ = bytes_moved_;
    for (visit& each : visits_) {
        if (begun != 0) {
            begin_pass_of(each);
        }
    }
}

void request_source::begin_pass_of(visit& where) noexcept {
    where.sequence.begin_pass();
    ++where.pass;
    where.pass_ios = 0;
}

void request_source::begin_verification() noexcept {
    verifies_ = true;
    ios_left_after_ = std::exchange(ios_left_, no_limit);
    for (visit& each : visits_) {
        each.verified = 0;
        each.sequence.repeat_pass();
    }
}

void request_source::end_verification() noexcept {
    verifies_ = false;
    ios_left_ = ios_left_ == 0 ? 0 : ios_left_after_;
}

// ---- requests ----

bool request_source::hold_next() noexcept {
    if (ios_left_ == 0) {
        return false;
    }
    holds_ = holds_ || next_access(held_, held_at_);
    return holds_;
}

request_source::visit& request_source::take() noexcept {
    holds_ = false;
    --ios_left_;
    return *held_at_;
}

void request_source::drop() noexcept {
    if (holds_) {
        holds_ = false;
        --held_at_->pass_ios;
        bytes_left_ += budgeted(held_);
        bytes_moved_ -= held_.length;
    }
}

std::uint64_t request_source::max_plain(std::uint32_t length) const noexcept {
    if (verifies_ || holds_ || bytes_left_ <= 0) {
        return 0;
    }
    return std::min(ios_left_, static_cast<std::uint64_t>(bytes_left_) / length);
}

void request_source::take_plain(std::uint64_t count, std::uint32_t length) noexcept {
    bytes_left_ -= static_cast<std::int64_t>(count * length);
    bytes_moved_ += count * length;
    visits_.front().pass_ios += count;
    ios_left_ -= count;
}

// Disks take turns, as in fio (file_service_type=roundrobin).
bool request_source::next_access(access& next, visit*& where) noexcept {
    for (std::size_t tried = 0; tried < visits_.size(); ++tried) {
        where = current_;
        current_ = current_ + 1 == visits_.data() + visits_.size() ? visits_.data() : current_ + 1;
        if (next_access_of(*where, next)) {
            return true;
        }
    }
    return false;
}

bool request_source::next_access_of(visit& where, access& next) noexcept {
    if (verifies_) {
        return next_to_verify(where, next);
    }
    if (bytes_left_ <= 0) {
        return false;
    }
    if (!where.sequence.next(next)) {
        if (!job_.time_based) {
            return false;
        }
        begin_pass_of(where);
        if (!where.sequence.next(next)) {
            return false; // a range without a block
        }
    }
    bytes_left_ -= budgeted(next);
    bytes_moved_ += next.length;
    ++where.pass_ios;
    return true;
}

// Returns the writes of the last pass as reads, in the same order.
bool request_source::next_to_verify(visit& where, access& next) noexcept {
    while (where.verified != where.pass_ios && where.sequence.next(next)) {
        ++where.verified;
        if (next.what == direction::write) {
            bytes_moved_ += next.length;
            next.what = direction::read;
            return true;
        }
    }
    return false;
}

// Returns the bytes that a request takes from io_size. For trimwrite, only writes take any.
std::int64_t request_source::budgeted(const access& of) const noexcept {
    return job_.rw == job_pattern::trimwrite && of.what == direction::trim ? 0 : of.length;
}

// number_ios counts the requests of each loop; for trimwrite, pairs of them.
std::uint64_t request_source::all_ios() const noexcept {
    const std::uint64_t each = job_.rw == job_pattern::trimwrite ? 2 : 1;
    return job_.number_ios == 0 ? no_limit : saturated_product(job_.number_ios, each * job_.loops, no_limit);
}

// Returns approximately how many bytes will be moved.
std::uint64_t request_source::all_bytes() const noexcept {
    std::uint64_t pass = 0;
    for (const visit& each : visits_) {
        pass += each.place->range.end - each.place->range.begin;
    }
    if (job_.rw == job_pattern::trimwrite) {
        pass *= 2;
    }
    return std::max(saturated_product(pass, job_.loops, no_limit), io_size_);
}

std::uint64_t request_source::thousandths() const noexcept {
    const std::uint64_t whole = all_bytes();
    const std::uint64_t done = whole < 1000 ? 0 : bytes_moved_ / (whole / 1000);
    if (job_.number_ios == 0) {
        return done;
    }
    const std::uint64_t left = ios_left_ / std::max<std::uint64_t>(all_ios() / 1000, 1);
    return std::max(done, 1000 - std::min<std::uint64_t>(left, 1000));
}

} // namespace inflight::bench
