#include "bench/job_run.hpp"

#include "async/scheduler.hpp"
#include "bench/verify_block.hpp"
#include "src/console.hpp"
#include "src/end.hpp"

#include <algorithm>
#include <memory>
#include <new>

namespace inflight::bench {

using kernel::console::print;

namespace {

// What fio calls errors, by the numbers of Linux.
constexpr unsigned error_io = 5;
constexpr unsigned error_bad_data = 84;
constexpr unsigned error_unsupported = 95;
constexpr unsigned error_timed_out = 110;

unsigned number_of(block::status outcome) noexcept {
    switch (outcome) {
    case block::status::unsupported: return error_unsupported;
    case block::status::timed_out: return error_timed_out;
    default: return error_io;
    }
}

arch::ticks to_ticks(std::uint64_t microseconds) noexcept {
    return microseconds * arch::ticks_per_second() / 1'000'000;
}

std::uint32_t largest_block(const job& of) noexcept {
    std::uint32_t largest = 0;
    for (const block_sizes& sizes : of.bs) {
        largest = std::max(largest, sizes.largest());
    }
    return largest;
}

// Of a batch that is not empty.
std::size_t batch_class(std::uint64_t count) noexcept {
    std::size_t which = 1;
    for (std::uint64_t most = 4; count > most && which + 1 < std::tuple_size_v<batch_counts>; most *= 2) {
        ++which;
    }
    return which;
}

std::uint64_t bytes_of(const job_place& place) noexcept {
    return place.io_size != one_pass ? place.io_size : place.range.end - place.range.begin;
}

constexpr std::array<const char*, directions> direction_names{"read", "write", "trim"};

} // namespace

job_run::job_run(const origin& begin, kernel::memory& from) noexcept : origin_{begin} {
    const job& what = *begin.of;
    // Whole pages, for a device that cares.
    constexpr std::size_t alignment = 4096;
    unit_bytes_ = largest_block(what);
    buffers_ = {from.allocate(std::size_t{unit_bytes_} * what.iodepth, alignment),
                std::size_t{unit_bytes_} * what.iodepth};
    if (buffers_.data() != nullptr) {
        std::byte* next = buffers_.data();
        const std::span<unit> units = from.create<unit>(what.iodepth, [&](std::size_t) {
            std::byte* const buffer = next;
            next += unit_bytes_;
            return unit{*this, buffer};
        });
        for (std::size_t i = units.size(); i-- > 0;) { // the first is taken first
            free(units[i]);
        }
        wake_.reset();
        depths_ = from.create<std::uint64_t>(what.iodepth + 1, [](std::size_t) { return std::uint64_t{0}; });
        visits_ = from.create<visit>(begin.places.size(), [&](std::size_t i) {
            return visit{.place = &begin.places[i],
                         .sequence = access_sequence{what, begin.places[i].range, begin.seed + i}};
        });
    }
    if (free_units_ == nullptr || depths_.empty() || visits_.empty()) {
        kernel::fail(
            "job '%.*s' (line %u): iodepth=%u with blocks of %u bytes takes more memory than is free, %lu KiB: use "
            "less of either, or give the machine more (./run --memory)",
            static_cast<int>(what.name.size()), what.name.data(), what.line, what.iodepth, unit_bytes_,
            from.available() / 1024);
    }
    current_ = visits_.data();

    // Data that no device can guess or shrink, as fio writes it.
    kernel::random data{begin.seed};
    for (std::size_t i = 0; i + sizeof(std::uint64_t) <= buffers_.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t word = data.next();
        std::copy_n(reinterpret_cast<const std::byte*>(&word), sizeof word, buffers_.data() + i);
    }

    think_time_ = to_ticks(what.thinktime);
    batch_ = std::min(std::max({what.iodepth_batch_submit, what.iodepth_batch_complete_min, 1u}), what.iodepth);
    writes_headers_ = what.verify && writes(what.rw);
    checks_reads_ = what.verify && !writes(what.rw);
    verify_interval_ =
        verify_interval(what.bs[static_cast<std::size_t>(writes_headers_ ? direction::write : direction::read)]);
    passes_differ_ = !what.norandommap && what.distribution.kind == random_distribution::shape::random;
    slow_ = batch_ > 1 || visits_.size() > 1 || what.thinktime != 0 || what.fsync != 0 || what.fdatasync != 0 ||
            what.verify ||
            std::any_of(what.rate_iops.begin(), what.rate_iops.end(), [](std::uint64_t rate) { return rate != 0; });
    is_plain_ = !slow_ && visits_.front().sequence.is_uniform() && !trims(what.rw);
    only_direction_ = writes(what.rw) ? direction::write : direction::read;
}

// ---- requests ----

// In each branch for itself, so that the compiler knows the kind of request to the end.
[[gnu::always_inline]] inline void job_run::start(unit& free, arch::ticks now) noexcept {
    free.start = now;
    block::disk& disk = *free.disk;
    const std::uint64_t sector = free.doing.offset >> block::sector_shift;
    const std::coroutine_handle<> handle = free.ended.handle();
    if (free.doing.what == direction::read) [[likely]] {
        (::new (free.request) block::request(disk.read(sector, free.data)))->await_suspend(handle);
    } else if (free.doing.what == direction::write) {
        (::new (free.request) block::request(disk.write(sector, free.data)))->await_suspend(handle);
    } else {
        start_trim(free);
    }
}

// By itself, for it calls something: what does has to save registers.
void job_run::start_trim(unit& free) noexcept {
    const std::uint64_t sector = free.doing.offset >> block::sector_shift;
    const std::uint64_t sectors = free.doing.length >> block::sector_shift;
    (::new (free.request) block::request(free.disk->discard(sector, sectors)))->await_suspend(free.ended.handle());
}

// The round in which these requests ended and began is over. Inline, for at depth 1 there is one for each request.
[[gnu::always_inline]] inline void job_run::end_batch() noexcept {
    batch_round_ = hart_->round_time();
    const std::uint64_t restarted = restarted_ + plain_left_counted_ - plain_left_;
    plain_left_counted_ = plain_left_;
    if (const std::uint64_t completed = restarted + ended_; completed != 0) {
        ++batches_completed_[batch_class(completed)];
    }
    if (const std::uint64_t submitted = restarted + begun_; submitted != 0) {
        ++batches_submitted_[batch_class(submitted)];
    }
    restarted_ = ended_ = begun_ = 0;
}

// Nearly every request takes this way: its latency is recorded, and its unit begins the next. What is rare ends in a call that
// nothing follows, or this would have to save registers for it. All else that is counted is settled when something rare comes.
[[gnu::always_inline]] inline void job_run::complete(unit& ended, arch::ticks now) noexcept {
    auto& request = *std::launder(reinterpret_cast<block::request*>(ended.request));
    direction_figures& figures = *ended.figures;
    const arch::ticks latency = now - ended.start;
    const std::uint64_t left = plain_left_;
    std::uint64_t offset;
    if (request.await_resume() != block::status::ok || left == 0 || now >= mark_ || !figures.is_usual(latency) ||
        !ended.where->sequence.next_offset(offset)) [[unlikely]] {
        complete_rarely(ended, now);
        return;
    }
    std::destroy_at(&request);
    plain_left_ = left - 1;
    figures.record_usual(latency);
    ended.doing.offset = offset;
    start(ended, now);
}

void job_run::ended(void* self) noexcept {
    unit& ended = *static_cast<unit*>(self);
    job_run& run = *ended.of;
    const arch::ticks now = arch::now();
    if (run.hart_->round_time() != run.batch_round_) [[unlikely]] {
        run.end_batch();
    }
    run.complete(ended, now);
}

// The same, whatever has happened.
void job_run::complete_rarely(unit& ended, arch::ticks now) noexcept {
    auto& request = *std::launder(reinterpret_cast<block::request*>(ended.request));
    const block::status outcome = request.await_resume();
    std::destroy_at(&request);
    settle();
    --in_flight_;
    ++ended_;
    ended.figures->record(now - ended.start, ended.doing.length);
    if (now >= mark_) {
        mark(now);
    }
    if (outcome != block::status::ok) {
        fail(ended, outcome);
    } else if (ended.doing.what == direction::read && (phase_ == phase::verify || checks_reads_)) {
        check(ended);
    }
    thinking_until_ = now + think_time_;
    if (slow_ || !begin_next(ended, now)) {
        free(ended);
    }
    grant();
}

// Lets so many requests take the plain way: as many as may begin before something else is due.
void job_run::grant() noexcept {
    const visit& only = visits_.front();
    if (is_plain_ && phase_ == phase::transfer && only.bytes_left > 0 && !holds_) {
        const std::uint64_t bytes = description().bs[static_cast<std::size_t>(only_direction_)].smallest();
        const std::uint64_t whole = static_cast<std::uint64_t>(only.bytes_left) / bytes;
        plain_left_ = granted_ = plain_left_counted_ = std::min({ios_left_, whole, most_granted});
    }
}

// Takes the grant back, and counts what it was used for.
void job_run::settle() noexcept {
    const std::uint64_t used = granted_ - plain_left_;
    restarted_ += plain_left_counted_ - plain_left_;
    plain_left_ = granted_ = plain_left_counted_ = 0;
    if (used != 0) {
        visit& only = visits_.front();
        direction_figures& figures = figures_[static_cast<std::size_t>(only_direction_)];
        const std::uint64_t bytes = used * description().bs[static_cast<std::size_t>(only_direction_)].smallest();
        figures.ios += used;
        figures.bytes += bytes;
        depths_[in_flight_] += used;
        only.bytes_left -= static_cast<std::int64_t>(bytes);
        only.pass_ios += used;
        ios_left_ -= used;
    }
}

void job_run::free(unit& unused) noexcept {
    unused.next_free = free_units_;
    free_units_ = &unused;
    if (++free_count_ >= batch_ || in_flight_ == 0) {
        wake_.set();
    }
}

// Begins the next request in a unit that is in nobody's list. False if there is none, or none yet.
bool job_run::begin_next(unit& free, arch::ticks now) noexcept {
    if (ios_left_ == 0) {
        done_ = true;
        return false;
    }
    if (!holds_ && !next_access(held_, held_at_)) {
        done_ = true;
        return false;
    }
    holds_ = not_before(held_.what, now) > now;
    if (holds_) {
        return false;
    }
    ++paced_ios_[static_cast<std::size_t>(held_.what)];
    free.doing = held_;
    free.where = held_at_;
    free.disk = held_at_->place->disk;
    free.data = {free.buffer, held_.length};
    free.figures = &figures_[static_cast<std::size_t>(held_.what)];
    if (held_.what == direction::write) {
        prepare_write(free);
    }
    --ios_left_;
    ++begun_;
    ++in_flight_;
    ++depths_[in_flight_];
    start(free, now);
    return true;
}

// What only some writes need.
void job_run::prepare_write(unit& free) noexcept {
    if (writes_headers_) {
        write_headers(free);
    }
    const std::uint32_t until_flush = description().fsync != 0 ? description().fsync : description().fdatasync;
    if (until_flush != 0 && ++writes_since_flush_ == until_flush) {
        writes_since_flush_ = 0;
        flush_due_ = true;
    }
}

// The next request of the job. Disks take turns, as in fio (file_service_type=roundrobin).
bool job_run::next_access(access& next, visit*& where) noexcept {
    for (std::size_t tried = 0; tried < visits_.size(); ++tried) {
        where = current_;
        current_ = current_ + 1 == visits_.data() + visits_.size() ? visits_.data() : current_ + 1;
        if (next_access_of(*where, next)) {
            return true;
        }
    }
    return false;
}

bool job_run::next_access_of(visit& where, access& next) noexcept {
    if (phase_ == phase::verify) {
        return next_to_verify(where, next);
    }
    if (where.bytes_left <= 0) {
        return false;
    }
    if (!where.sequence.next(next)) {
        if (where.place->io_size == one_pass) {
            where.bytes_left = 0;
            return false;
        }
        begin_pass(where);
        if (!where.sequence.next(next)) {
            where.bytes_left = 0; // a range without a block
            return false;
        }
    }
    where.bytes_left -= next.length;
    ++where.pass_ios;
    return true;
}

// The next pass over the range.
void job_run::begin_pass(visit& where) noexcept {
    where.sequence.begin_pass();
    ++where.pass;
    where.pass_ios = 0;
}

// What the last pass wrote, in the same order.
bool job_run::next_to_verify(visit& where, access& next) noexcept {
    while (where.verified != where.pass_ios && where.sequence.next(next)) {
        ++where.verified;
        if (next.what == direction::write) {
            next.what = direction::read;
            return true;
        }
    }
    return false;
}

// ---- pauses ----

// The time at which a request of this direction may begin (rate_iops).
arch::ticks job_run::not_before(direction what, arch::ticks now) const noexcept {
    const auto which = static_cast<std::size_t>(what);
    const std::uint64_t rate = description().rate_iops[which];
    if (rate == 0 || phase_ == phase::verify) {
        return now;
    }
    return pacing_since_ + paced_ios_[which] * arch::ticks_per_second() / rate;
}

// Begins as many requests as may begin now. Answers the time at which it should be tried again, if that is not when
// something has ended; else 0.
arch::ticks job_run::fill() noexcept {
    settle();
    const arch::ticks again = fill_units();
    grant();
    return again;
}

arch::ticks job_run::fill_units() noexcept {
    arch::ticks now = arch::now();
    if (now >= mark_) {
        mark(now);
    }
    while (free_units_ != nullptr && !done_ && !flush_due_) {
        if (description().thinktime != 0 && phase_ == phase::transfer && ios_left_ != 0) {
            if (in_flight_ != 0) {
                return 0;
            }
            if (now < thinking_until_) {
                return thinking_until_;
            }
        }
        unit& next = *free_units_;
        free_units_ = next.next_free;
        --free_count_;
        if (!begin_next(next, now)) {
            next.next_free = free_units_;
            free_units_ = &next;
            ++free_count_;
            return done_ ? 0 : not_before(held_.what, now);
        }
    }
    return 0;
}

async::task<void> job_run::flush() {
    flush_due_ = false;
    for (visit& each : visits_) {
        const arch::ticks begin = arch::now();
        const block::status outcome = co_await each.place->disk->flush();
        flushes_.record(arch::now() - begin, 0);
        if (outcome != block::status::ok) {
            fail(each, "flush", 0, outcome);
        }
    }
}

// Requests, until there are none to begin and none in flight.
async::task<void> job_run::transfer() {
    const arch::ticks begin = arch::now();
    std::array<std::uint64_t, directions> before{};
    for (std::size_t i = 0; i < directions; ++i) {
        before[i] = figures_[i].ios;
    }
    done_ = false;
    for (;;) {
        if (flush_due_ && in_flight_ == 0) {
            co_await flush();
            continue;
        }
        const arch::ticks again = fill();
        if (done_ && in_flight_ == 0 && !flush_due_) {
            break;
        }
        if (again != 0) {
            co_await async::sleep_until(std::min(again, deadline_));
        } else if (in_flight_ != 0) {
            co_await wake_.wait();
        }
    }
    settle();
    end_batch();
    const arch::ticks now = arch::now();
    for (std::size_t i = 0; i < directions; ++i) {
        const bool begun_anew = measured_since_ > begin; // the ramp ended in here
        if (figures_[i].ios > (begun_anew ? 0 : before[i])) {
            figures_[i].runtime += now - std::max(begin, measured_since_);
        }
    }
}

// ---- verification ----

// What is written at a place decides its contents; where each pass writes every block once, also the pass.
std::uint64_t job_run::verify_seed(const visit& where, std::uint64_t offset) const noexcept {
    const std::uint64_t pass = passes_differ_ ? where.pass : 0;
    return kernel::mix(origin_.seed + kernel::golden_gamma * (offset + 1) + (pass << 48)) | 1;
}

// A request is one block with a header, or several.
template <typename Visitor>
void job_run::for_each_block(const unit& of, Visitor&& look) const noexcept {
    const std::uint32_t step = verify_interval_ != 0 ? std::min(verify_interval_, of.doing.length) : of.doing.length;
    for (std::uint32_t at = 0; at + step <= of.doing.length; at += step) {
        look(std::span{of.buffer + at, step}, of.doing.offset + at);
    }
}

void job_run::write_headers(const unit& into) noexcept {
    const std::uint64_t now = arch::now();
    const auto second = static_cast<std::uint32_t>(now / arch::ticks_per_second());
    const std::uint16_t number =
        passes_differ_ ? ++written_ : std::uint16_t{0}; // else it has to be the same every time
    for_each_block(into, [&](std::span<std::byte> block, std::uint64_t offset) {
        fill_verify_block(block, {.seed = verify_seed(*into.where, offset),
                                  .offset = offset,
                                  .seconds = passes_differ_ ? second : 0,
                                  .job = static_cast<std::uint16_t>(origin_.clone + 1),
                                  .number = number});
    });
}

void job_run::check(const unit& read) noexcept {
    for_each_block(read, [&](std::span<const std::byte> block, std::uint64_t offset) {
        const bool own = phase_ == phase::verify; // else whoever wrote it chose the seed
        const auto seed = own ? std::optional{verify_seed(*read.where, offset)} : std::nullopt;
        const verify_result found = check_verify_block(block, offset, seed);
        if (found || failed_) {
            return;
        }
        static std::array<char, 2048> text;
        describe_verify_fault(text, read.where->place->name, block, offset, seed, found);
        kernel::console::write(text.data());
        failed_ = true;
        error_ = "the data is not what was written";
        error_number_ = error_bad_data;
        stop();
    });
}

void job_run::fail(const unit& at, block::status outcome) noexcept {
    fail(*at.where, direction_names[static_cast<std::size_t>(at.doing.what)], at.doing.offset, outcome);
}

void job_run::fail(const visit& where, const char* what, std::uint64_t offset, block::status outcome) noexcept {
    stop();
    if (failed_) {
        return; // one sentence is enough
    }
    failed_ = true;
    error_ = block::to_string(outcome);
    error_number_ = number_of(outcome);
    print("bench: job '%.*s' (line %u): a %s of %s at sector %lu failed: %s\n",
          static_cast<int>(description().name.size()), description().name.data(), description().line, what,
          where.place->name, offset >> block::sector_shift, error_);
}

// ---- figures ----

// What is due from time to time: the end of the ramp, a sample, the end of the run.
void job_run::mark(arch::ticks now) noexcept {
    if (ramping_ && now >= ramp_end_) {
        ramping_ = false;
        begin_figures(now);
    } else if (now - sampled_at_ >= sample_span()) {
        sample(now);
    }
    if (now >= deadline_) {
        stop();
    }
    mark_ = sampled_at_ + sample_span();
    if (ramping_) {
        mark_ = std::min(mark_, ramp_end_);
    }
    if (now < deadline_) {
        mark_ = std::min(mark_, deadline_);
    }
}

arch::ticks job_run::sample_span() noexcept {
    return arch::ticks_per_second() / 2;
}

void job_run::sample(arch::ticks now) noexcept {
    const arch::ticks span = now - sampled_at_;
    for (std::size_t i = 0; i < directions; ++i) {
        direction_figures& each = figures_[i];
        const std::uint64_t ios = each.ios - sampled_[i].ios;
        const std::uint64_t bytes = each.bytes - sampled_[i].bytes;
        if (ios != 0) {
            const std::uint64_t bytes_per_second = bytes * arch::ticks_per_second() / span;
            const std::uint64_t ios_per_second = ios * arch::ticks_per_second() / span;
            each.bytes_per_second.record(bytes_per_second, bytes_per_second / 1024);
            each.ios_per_second.record(ios_per_second, ios_per_second);
        }
        sampled_[i] = {.ios = each.ios, .bytes = each.bytes};
        told_.ios[i].store(each.ios, std::memory_order_relaxed);
        told_.bytes[i].store(each.bytes, std::memory_order_relaxed);
    }
    sampled_at_ = now;
    tell_how_far(now);
}

// By time, if that is what ends the job, else by what there is to transfer.
void job_run::tell_how_far(arch::ticks now) noexcept {
    std::uint64_t done = 0;
    if (description().time_based && deadline_ != arch::no_deadline) {
        done = (now - started_) * 1000 / (deadline_ - started_);
    } else {
        std::uint64_t whole = 0;
        std::uint64_t issued = 0;
        for (const visit& each : visits_) {
            const std::uint64_t all = bytes_of(*each.place);
            whole += all;
            issued += all - std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(each.bytes_left, 0)), all);
        }
        done = whole < 1000 ? 0 : issued / (whole / 1000);
        if (description().number_ios != 0) {
            done = std::max(done, 1000 - std::min<std::uint64_t>(ios_left_ * 1000 / description().number_ios, 1000));
        }
    }
    told_.done.store(std::min<std::uint64_t>(done, 1000), std::memory_order_relaxed);
}

void job_run::stop() noexcept {
    ios_left_ = 0;
}

// From here on it counts.
void job_run::begin_figures(arch::ticks now) noexcept {
    for (direction_figures& each : figures_) {
        each = direction_figures{};
    }
    flushes_ = direction_figures{};
    std::fill(depths_.begin(), depths_.end(), 0);
    batches_submitted_ = {};
    batches_completed_ = {};
    sampled_ = {};
    sampled_at_ = now;
    measured_since_ = now;
}

// ---- the whole of it ----

async::task<void> job_run::run() {
    const job& what = description();
    hart_ = &async::executor::current();
    const async::poll_mode polling = hart_->polling();
    if (what.hipri) {
        hart_->set_poll_mode(async::poll_mode::always);
    }
    started_ = arch::now();
    ramping_ = what.ramp_time != 0;
    ramp_end_ = started_ + to_ticks(what.ramp_time);
    deadline_ = what.runtime == 0 ? arch::no_deadline : ramp_end_ + to_ticks(what.runtime);
    pacing_since_ = started_;
    ios_left_ = what.number_ios == 0 ? no_limit : what.number_ios;
    begin_figures(started_);
    mark(started_);

    for (std::uint32_t loop = 0; loop < what.loops && ios_left_ != 0; ++loop) {
        for (visit& each : visits_) {
            each.bytes_left = static_cast<std::int64_t>(bytes_of(*each.place));
            if (loop != 0) {
                begin_pass(each);
            }
        }
        co_await transfer();
        if (writes_headers_ && what.do_verify && !failed_) {
            const std::uint64_t left = std::exchange(ios_left_, no_limit);
            const arch::ticks deadline = std::exchange(deadline_, arch::no_deadline);
            phase_ = phase::verify;
            for (visit& each : visits_) {
                each.verified = 0;
                each.sequence.repeat_pass();
            }
            co_await transfer();
            phase_ = phase::transfer;
            deadline_ = deadline;
            ios_left_ = failed_ ? 0 : left;
        }
    }
    const arch::ticks now = arch::now();
    if (now - sampled_at_ >= sample_span() / 2) {
        sample(now);
    }
    elapsed_ = now - measured_since_;
    hart_->set_poll_mode(polling);
    has_ended_.store(true, std::memory_order_relaxed);
}

std::uint64_t job_run::ios() const noexcept {
    std::uint64_t sum = 0;
    for (const direction_figures& each : figures_) {
        sum += each.ios;
    }
    return sum;
}

// ---- what is said ----

namespace {

// Inside of a string of JSON.
void print_escaped(std::string_view text) noexcept {
    for (const char each : text) {
        if (each == '"' || each == '\\' || static_cast<unsigned char>(each) < ' ') {
            print("\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(each)));
        } else {
            print("%c", each);
        }
    }
}

void print_latencies(const direction_figures& of) noexcept {
    print("\"clat\":{\"count\":%lu,\"min\":%lu,\"max\":%lu,\"sum\":%lu,\"bins\":[", of.ios, of.ios == 0 ? 0 : of.least,
          of.most, of.sum);
    bool first = true;
    of.latencies.for_each_bucket([&first](std::uint64_t middle, std::uint64_t count) {
        print("%s[%lu,%lu]", first ? "" : ",", middle, count);
        first = false;
    });
    print("]}");
}

void print_samples(const char* name, const char* squares, const rate_samples& of) noexcept {
    print(",\"%s\":{\"count\":%lu,\"min\":%lu,\"max\":%lu,\"sum\":%lu,\"%s\":%lu}", name, of.count, of.least, of.most,
          of.sum, squares, of.sum_of_squares);
}

template <typename Counts>
void print_list(const char* name, const Counts& counts) noexcept {
    print("\"%s\":[", name);
    const char* separator = "";
    for (const std::uint64_t each : counts) {
        print("%s%lu", separator, each);
        separator = ",";
    }
    print("]");
}

} // namespace

void job_run::print_json() const noexcept {
    const job& what = description();
    print("{\"name\":\"");
    print_escaped(what.name);
    print("\",\"clone\":%u,\"group\":%u,\"line\":%u,\"hart\":%u,\"rw\":\"%s\",\"iodepth\":%u,"
          "\"group_reporting\":%s,\"error\":%u,\"error_text\":\"%s\",\"started\":%lu,\"elapsed\":%lu,\"disks\":[",
          origin_.clone, origin_.group, what.line, origin_.hart, to_string(what.rw), what.iodepth,
          what.group_reporting ? "true" : "false", error_number_, error_, started_, elapsed_);
    const char* separator = "";
    for (const visit& each : visits_) {
        print("%s\"%s\"", separator, each.place->name);
        separator = ",";
    }
    print("],\"options\":{");
    separator = "";
    for (const given_option& each : std::span{what.options}.first(what.option_count)) {
        print("%s\"%.*s\":\"", separator, static_cast<int>(each.name.size()), each.name.data());
        print_escaped(each.value);
        print("\"");
        separator = ",";
    }
    print("},");
    print_list("bs",
               std::array<std::uint64_t, directions>{what.bs[0].largest(), what.bs[1].largest(), what.bs[2].largest()});
    print(",");
    print_list("percentile_list", std::span{what.percentile_list}.first(what.percentile_count));
    for (std::size_t i = 0; i < directions; ++i) {
        const direction_figures& each = figures_[i];
        print(",\"%s\":{\"ios\":%lu,\"bytes\":%lu,\"runtime\":%lu,", direction_names[i], each.ios, each.bytes,
              each.runtime);
        print_latencies(each);
        print_samples("bw_samples", "sum_squares_kib", each.bytes_per_second);
        print_samples("iops_samples", "sum_squares", each.ios_per_second);
        print("}");
    }
    print(",\"sync\":{\"ios\":%lu,", flushes_.ios);
    print_latencies(flushes_);
    print("},");

    // As fio groups them: 1, 2 and 3, 4 to 7, and so on, 64 and more.
    std::array<std::uint64_t, 7> depths{};
    for (std::size_t depth = 1; depth < depths_.size(); ++depth) {
        std::size_t which = 0;
        while (which + 1 < depths.size() && depth >> (which + 1) != 0) {
            ++which;
        }
        depths[which] += depths_[depth];
    }
    print_list("depth_at_submission", depths);
    print(",");
    print_list("batch_submitted", batches_submitted_);
    print(",");
    print_list("batch_completed", batches_completed_);
    print("}");
}

} // namespace inflight::bench
