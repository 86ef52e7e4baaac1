#include "bench/fio/job_run.hpp"

#include "async/scheduler.hpp"
#include "src/kernel/boot_time.hpp"
#include "src/kernel/console.hpp"
#include "src/kernel/elapsed.hpp"
#include "src/kernel/end.hpp"

#include <algorithm>
#include <memory>
#include <new>

namespace inflight::bench {

using kernel::console::print;

namespace {

// fio's error numbers, which are Linux's.
constexpr unsigned error_io = 5;
constexpr unsigned error_out_of_range = 34;
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

} // namespace

job_run::job_run(const origin& begin, kernel::memory& from) noexcept
    : origin_{begin},
      source_{*begin.of, begin.places, begin.seed, begin.io_size, from},
      pacing_{*begin.of},
      verification_{*begin.of, begin.seed, begin.clone} {
    const job& what = *begin.of;
    // Page-aligned, in case the device works better with that.
    constexpr std::size_t alignment = 4096;
    const std::uint32_t unit_bytes = largest_block(what);
    buffers_ = {from.allocate(std::size_t{unit_bytes} * what.iodepth, alignment),
                std::size_t{unit_bytes} * what.iodepth};
    if (buffers_.data() != nullptr) {
        std::byte* next = buffers_.data();
        const std::span<unit> units = from.create<unit>(what.iodepth, [&](std::size_t) {
            std::byte* const buffer = next;
            next += unit_bytes;
            return unit{*this, buffer};
        });
        for (std::size_t i = units.size(); i-- > 0;) { // the first unit is taken first
            free(units[i]);
        }
        wake_.reset();
        figures_.depths = from.create<std::uint64_t>(what.iodepth + 1, [](std::size_t) { return std::uint64_t{0}; });
    }
    if (free_units_ == nullptr || figures_.depths.empty() || !source_.is_complete()) {
        kernel::fail(
            "job '%.*s' (line %u): iodepth=%u with blocks of %u bytes takes more memory than is free, %lu KiB: use "
            "less of either, or give the machine more (./run --memory)",
            static_cast<int>(what.name.size()), what.name.data(), what.line, what.iodepth, unit_bytes,
            from.available() / 1024);
    }

    // Random data, as in fio, which no device can guess or compress.
    support::random data{begin.seed};
    for (std::size_t i = 0; i + sizeof(std::uint64_t) <= buffers_.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t word = data.next();
        std::copy_n(reinterpret_cast<const std::byte*>(&word), sizeof word, buffers_.data() + i);
    }

    batch_ = std::min(std::max({what.iodepth_batch_submit, what.iodepth_batch_complete_min, 1u}), what.iodepth);
    slow_ = batch_ > 1 || source_.visits().size() > 1 || pacing_.pauses() || what.fsync != 0 || what.fdatasync != 0 ||
            what.verify;
    is_plain_ = !slow_ && source_.visits().front().sequence.is_uniform() && !trims(what.rw);
    only_direction_ = writes(what.rw) ? direction::write : direction::read;
    plain_bytes_ = what.bs[static_cast<std::size_t>(only_direction_)].smallest();
}

// ---- requests ----

// Each branch begins its own request, so that the compiler knows the type of the request throughout.
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

// A separate function, because it calls others: a function that does so has to save registers.
void job_run::start_trim(unit& free) noexcept {
    const std::uint64_t sector = free.doing.offset >> block::sector_shift;
    const std::uint64_t sectors = free.doing.length >> block::sector_shift;
    (::new (free.request) block::request(free.disk->discard(sector, sectors)))->await_suspend(free.ended.handle());
}

// Ends the round in which these requests ended and began. Inline, because at depth 1 every request has a round of its
// own.
[[gnu::always_inline]] inline void job_run::end_batch() noexcept {
    batch_round_ = hart_->round_time();
    const std::uint64_t restarted = restarted_ + plain_left_counted_ - plain_left_;
    plain_left_counted_ = plain_left_;
    figures_.count_batch(restarted + begun_, restarted + ended_);
    restarted_ = ended_ = begun_ = 0;
}

// The path of nearly every request: it records the latency and begins the next request in the same unit. Rare cases end
// in a tail call, because otherwise this function would have to save registers. settle() updates the other counts when
// a rare case comes.
[[gnu::always_inline]] inline void
job_run::complete_plainly(unit& ended, arch::ticks now,
                          void (direction_figures::*record)(arch::ticks) noexcept) noexcept {
    auto& request = *std::launder(reinterpret_cast<block::request*>(ended.request));
    const std::uint64_t left = plain_left_;
    std::uint64_t offset;
    if (request.await_resume() != block::status::ok || left == 0 || now >= mark_ ||
        !ended.where->sequence.next_offset(offset)) [[unlikely]] {
        complete_rarely(ended, now);
        return;
    }
    std::destroy_at(&request);
    plain_left_ = left - 1;
    (ended.figures->*record)(now - ended.start);
    ended.doing.offset = offset;
    start(ended, now);
}

[[gnu::always_inline]] inline void job_run::complete(unit& ended, arch::ticks now) noexcept {
    if (!ended.figures->is_usual(now - ended.start)) [[unlikely]] {
        complete_long(ended, now);
        return;
    }
    complete_plainly(ended, now, &direction_figures::record_usual);
}

// Completes a request that took longer than the exact range of the histogram, as all do on a slow disk or at a great
// depth.
void job_run::complete_long(unit& ended, arch::ticks now) noexcept {
    if (!ended.figures->is_within(now - ended.start)) {
        complete_rarely(ended, now);
        return;
    }
    complete_plainly(ended, now, &direction_figures::record_within);
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

// Completes a request in any case.
void job_run::complete_rarely(unit& ended, arch::ticks now) noexcept {
    auto& request = *std::launder(reinterpret_cast<block::request*>(ended.request));
    const block::status outcome = request.await_resume();
    std::destroy_at(&request);
    settle();
    --in_flight_;
    trims_in_flight_ -= ended.doing.what == direction::trim ? 1 : 0;
    ++ended_;
    look_at_clock(ended.start, now);
    ended.figures->record(now - ended.start, ended.doing.length);
    if (has_come(mark_, now)) {
        mark(now);
    }
    if (outcome != block::status::ok) {
        fail(ended, outcome);
    } else if (ended.doing.what == direction::read && (source_.verifies() || verification_.checks_reads())) {
        check(ended);
    }
    pacing_.request_ends(now);
    if (slow_ || !begin_next(ended, now)) {
        free(ended);
    }
    grant();
}

// Grants the plain path to as many requests as may begin before something else is due.
void job_run::grant() noexcept {
    if (is_plain_) {
        plain_left_ = granted_ = plain_left_counted_ = std::min(source_.max_plain(plain_bytes_), max_granted);
    }
}

// Withdraws the grant, and counts the requests that used it.
void job_run::settle() noexcept {
    const std::uint64_t used = granted_ - plain_left_;
    restarted_ += plain_left_counted_ - plain_left_;
    plain_left_ = granted_ = plain_left_counted_ = 0;
    if (used != 0) {
        direction_figures& figures = figures_[only_direction_];
        figures.ios += used;
        figures.bytes += used * plain_bytes_;
        figures_.depths[in_flight_] += used;
        source_.take_plain(used, plain_bytes_);
    }
}

void job_run::free(unit& unused) noexcept {
    unused.next_free = free_units_;
    free_units_ = &unused;
    if (++free_count_ >= batch_ || in_flight_ == 0) {
        wake_.set();
    }
}

// Begins the next request in a unit that is in no list. Returns false if there is no request, or none yet.
bool job_run::begin_next(unit& free, arch::ticks now) noexcept {
    if (!source_.hold_next()) {
        done_ = true;
        return false;
    }
    const access& next = source_.held();
    if (waits_for_trim() || (!source_.verifies() && !has_come(pacing_.not_before(next.what, now), now))) {
        return false;
    }
    pacing_.request_begins(next.what);
    free.doing = next;
    free.where = &source_.take();
    free.disk = free.where->place->disk;
    free.data = {free.buffer, free.doing.length};
    free.figures = &figures_[free.doing.what];
    if (free.doing.what == direction::write) {
        prepare_write(free);
    }
    ++begun_;
    ++in_flight_;
    trims_in_flight_ += free.doing.what == direction::trim ? 1 : 0;
    ++figures_.depths[in_flight_];
    start(free, now);
    return true;
}

// Prepares what only some writes need: headers, and a flush after some number of writes.
void job_run::prepare_write(unit& free) noexcept {
    if (verification_.writes_headers()) {
        verification_.write_headers(free.data, free.doing.offset, free.where->pass);
    }
    ++writes_begun_;
    for (const std::uint32_t interval : {description().fsync, description().fdatasync}) {
        flush_due_ = flush_due_ || (interval != 0 && writes_begun_ % interval == 0);
    }
}

// Returns whether a flush comes before the next request. As in fio, no flush follows the last request or interrupts a
// verification.
bool job_run::must_flush() const noexcept {
    return flush_due_ && !source_.verifies();
}

// Returns whether the next request writes what is being trimmed. A disk may execute simultaneous requests in any order.
bool job_run::waits_for_trim() const noexcept {
    return trims_in_flight_ != 0 && source_.held().what == direction::write;
}

// ---- pauses ----

// Begins as many requests as possible. Returns the time at which to try again, or 0 if that is when a request ends.
arch::ticks job_run::fill() noexcept {
    settle();
    const arch::ticks again = fill_units();
    grant();
    return again;
}

arch::ticks job_run::fill_units() noexcept {
    const arch::ticks now = arch::now();
    look_at_clock(clock_.seen(), now);
    if (has_come(mark_, now)) {
        mark(now);
    }
    while (free_units_ != nullptr && !done_ && !must_flush()) {
        if (pacing_.thinks() && !source_.verifies() && !source_.has_stopped()) {
            if (in_flight_ != 0) {
                return 0;
            }
            if (!has_come(pacing_.thinking_until(), now)) {
                return pacing_.thinking_until();
            }
        }
        unit& next = *free_units_;
        free_units_ = next.next_free;
        --free_count_;
        if (!begin_next(next, now)) {
            next.next_free = free_units_;
            free_units_ = &next;
            ++free_count_;
            return done_ || waits_for_trim() ? 0 : pacing_.not_before(source_.held().what, now);
        }
    }
    return 0;
}

async::task<void> job_run::flush() {
    flush_due_ = false;
    for (visit& each : source_.visits()) {
        const arch::ticks begin = arch::now();
        const block::status outcome = co_await each.place->disk->flush();
        const arch::ticks end = arch::now();
        look_at_clock(begin, end);
        figures_.flushes.record(end - begin, 0);
        if (outcome != block::status::ok) {
            fail(each, "flush", 0, outcome);
        }
    }
}

// Transfers until there is no request left to begin and none in flight.
async::task<void> job_run::transfer() {
    const arch::ticks begin = arch::now();
    std::array<std::uint64_t, directions> before{};
    for (std::size_t i = 0; i < directions; ++i) {
        before[i] = figures_.of[i].ios;
    }
    done_ = false;
    for (;;) {
        if (must_flush() && in_flight_ == 0 && source_.hold_next()) {
            co_await flush();
            continue;
        }
        const arch::ticks again = fill();
        if ((done_ || must_flush()) && in_flight_ == 0) {
            break;
        }
        if (again != 0) {
            // A span, because the executor's clock differs from arch::now() after that has stepped back.
            const arch::ticks until = std::min(again, deadline_);
            const arch::ticks now = arch::now();
            co_await async::sleep_for(has_come(until, now) ? 0 : until - now);
        } else if (in_flight_ != 0) {
            co_await wake_.wait();
        }
    }
    settle();
    source_.drop();
    end_batch();
    const arch::ticks now = arch::now();
    look_at_clock(clock_.seen(), now);
    for (std::size_t i = 0; i < directions; ++i) {
        const bool begun_anew = !has_come(figures_.since, begin); // the ramp ended in this transfer
        if (figures_.of[i].ios > (begun_anew ? 0 : before[i])) {
            figures_.of[i].runtime += now - (begun_anew ? figures_.since : begin);
        }
    }
}

// Checks data of the job's own pass while it verifies, else data of any job.
void job_run::check(const unit& read) noexcept {
    const auto pass = source_.verifies() ? std::optional{read.where->pass} : std::nullopt;
    if (!failed() && !verification_.check(read.data, read.doing.offset, pass, read.where->place->name)) {
        error_ = {.number = error_bad_data, .text = "the data is not what was written"};
        source_.stop();
    }
}

void job_run::fail(const unit& at, block::status outcome) noexcept {
    fail(*at.where, to_string(at.doing.what), at.doing.offset, outcome);
}

void job_run::fail(const visit& where, const char* what, std::uint64_t offset, block::status outcome) noexcept {
    source_.stop();
    if (failed()) {
        return; // only the first failure is reported
    }
    error_ = {.number = number_of(outcome), .text = block::to_string(outcome)};
    print("bench: job '%.*s' (line %u): a %s of %s at sector %lu failed: %s\n",
          static_cast<int>(description().name.size()), description().name.data(), description().line, what,
          where.place->name, offset >> block::sector_shift, error_.text);
}

// ---- figures ----

// Ends the job if the clock has stepped back.
void job_run::look_at_clock(arch::ticks since, arch::ticks now) noexcept {
    const std::optional<arch::ticks> step = clock_.look(since, now);
    if (!step) {
        return;
    }
    source_.stop();
    if (!failed()) {
        error_ = {.number = error_out_of_range, .text = "the clock stepped back"};
        print("bench: job '%.*s' (line %u): the clock stepped back by %lu ms or more (was a snapshot loaded, or the "
              "machine moved?): times are not measured\n",
              static_cast<int>(description().name.size()), description().name.data(), description().line,
              kernel::to_nanoseconds(*step) / 1'000'000);
    }
}

// Does what is due: ends the ramp, takes a sample, ends the run.
void job_run::mark(arch::ticks now) noexcept {
    if (ramping_ && has_come(ramp_end_, now)) {
        ramping_ = false;
        begin_figures(now);
    } else if (has_come(sampler_.next(), now)) {
        sample(now);
    }
    if (has_come(deadline_, now)) {
        source_.stop();
    }
    mark_ = sampler_.next();
    if (ramping_ && has_come(ramp_end_, mark_)) {
        mark_ = ramp_end_;
    }
    if (!has_come(deadline_, now) && has_come(deadline_, mark_)) {
        mark_ = deadline_;
    }
}

void job_run::sample(arch::ticks now) noexcept {
    sampler_.sample(figures_, now);
    for (std::size_t i = 0; i < directions; ++i) {
        told_.ios[i].store(figures_.of[i].ios, std::memory_order_relaxed);
        told_.bytes[i].store(figures_.of[i].bytes, std::memory_order_relaxed);
    }
    tell_how_far(now);
}

// Measures progress by time if time ends the job, else by what there is to transfer.
void job_run::tell_how_far(arch::ticks now) noexcept {
    std::uint64_t done = 0;
    if (description().time_based && deadline_ != arch::no_deadline) {
        done = (now - started_) * 1000 / (deadline_ - started_);
    } else {
        done = source_.thousandths();
    }
    told_.done.store(std::min<std::uint64_t>(done, 1000), std::memory_order_relaxed);
}

void job_run::begin_figures(arch::ticks now) noexcept {
    figures_.begin(now);
    sampler_.begin(now);
}

// ---- the run ----

async::task<void> job_run::run() {
    const job& what = description();
    hart_ = &async::executor::current();
    const async::poll_mode polling = hart_->polling();
    if (what.hipri) {
        hart_->set_poll_mode(async::poll_mode::always);
    }
    started_ = arch::now();
    clock_.begin(started_);
    ramping_ = what.ramp_time != 0;
    ramp_end_ = started_ + to_ticks(what.ramp_time);
    deadline_ = what.runtime == 0 ? arch::no_deadline : ramp_end_ + to_ticks(what.runtime);
    pacing_.begin(started_);
    source_.begin();
    begin_figures(started_);
    mark(started_);

    for (std::uint32_t passes = 0; source_.wants_pass(passes); ++passes) {
        source_.begin_pass(passes);
        co_await transfer();
        if (verification_.writes_headers() && what.do_verify && !failed()) {
            const arch::ticks deadline = std::exchange(deadline_, arch::no_deadline);
            source_.begin_verification();
            co_await transfer();
            source_.end_verification();
            deadline_ = deadline;
        }
    }
    const arch::ticks now = arch::now();
    look_at_clock(clock_.seen(), now);
    if (!clock_.has_stepped() && sampler_.has_last(now)) {
        sample(now);
    }
    elapsed_ = now - figures_.since;
    if (clock_.has_stepped()) {
        elapsed_ = 0;
        figures_.forget_times();
    }
    hart_->set_poll_mode(polling);
    told_.has_ended.store(true, std::memory_order_relaxed);
}

} // namespace inflight::bench
