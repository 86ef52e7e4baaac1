#include "tests/simulation/workload.hpp"

#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/with_timeout.hpp"
#include "tests/simulation/request_checks.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace inflight::simulation {

using block::status;

void workload::start(const std::vector<std::unique_ptr<simulated_disk>>& disks) {
    chooser& choose = in_.choose;
    machine& host = in_.host;
    std::uint64_t next_sector = 0;
    for (hart_index hart = 0; hart < host.harts(); ++hart) {
        host.select_hart(hart);
        const auto count = static_cast<std::uint64_t>(choose.between(1, 4));
        for (std::uint64_t i = 0; i < count; ++i) {
            worker& made = *workers_.emplace_back(std::make_unique<worker>());
            made.home = hart;
            made.on = disks[choose.below(disks.size())].get();
            made.sectors = sectors_of_each;
            made.first = next_sector;
            next_sector += made.sectors;
            made.buffer = {host.allocate(4 * sector_bytes, sector_bytes), 4 * sector_bytes};
            made.rounds = static_cast<unsigned>(choose.between(1, 6));
            async::counting_scope& scope = harts_[hart].scope;
            if (choose.percent(20)) { // the frame here, the work elsewhere
                made.home = static_cast<hart_index>(choose.below(host.harts()));
            }
            if (!(made.home != hart ? async::spawn_on(scope, made.home, work(made)) : scope.spawn(work(made)))) {
                host.report("FRAMES", "no memory for a frame");
            }
        }
    }
    host.select_hart(0);
}

bool workload::each_ended_once() const {
    return std::all_of(workers_.begin(), workers_.end(), [](const auto& each) { return each->ended == 1; });
}

workload::task<void> workload::work(worker& self) {
    chooser& choose = in_.choose;
    machine& host = in_.host;
    const simulated_hart& hart = harts_[self.home];
    for (unsigned round = 0; round < self.rounds; ++round) {
        const std::uint64_t kind = choose.below(100);
        if (kind < 40) {
            co_await transfer(self);
        } else if (kind < 55) {
            co_await travel(self);
        } else if (kind < 65) {
            co_await guarded_transfer(self);
        } else if (kind < 75) {
            co_await errand(self);
        } else if (kind < 82) {
            stop_somebody();
        } else if (kind < 87) {
            const ticks until = host.time() + choose.below(3000);
            co_await async::sleep_until(until);
            in_.expect(host.time() >= until, "woken too early");
        } else if (kind < 90) {
            co_await async::yield();
        } else if (kind < 97) {
            co_await flush(self);
        } else {
            co_await switch_write_cache(self);
        }
        in_.expect(arch::this_hart() == self.home, "a coroutine goes on on another hart");
        in_.expect(&async::executor::current() == hart.executor.get(), "a hart has another one's executor");
        in_.expect(host.time() >= self.last_seen, "time goes back");
        self.last_seen = host.time();
    }
    ++self.ended;
}

// Transfers on other harts; and back, because the frame belongs to this one.
workload::task<void> workload::travel(worker& self) {
    chooser& choose = in_.choose;
    for (std::uint64_t hops = choose.below(3); hops != 0; --hops) {
        const auto there = static_cast<hart_index>(choose.below(in_.host.harts()));
        if (choose.percent(50)) {
            co_await hop{in_, harts_, there};
        } else {
            co_await async::schedule_on{there};
            check_scheduled(there);
        }
        const std::uint64_t what = choose.below(4);
        if (what < 2) {
            co_await transfer(self);
        } else if (what == 2) {
            co_await guarded_transfer(self);
        }
    }
    if (const hart_index home = self.home; choose.percent(50)) {
        co_await hop{in_, harts_, home};
    } else {
        co_await async::schedule_on{home};
        check_scheduled(home);
    }
}

void workload::check_scheduled(hart_index here) {
    in_.expect(arch::this_hart() == here, "a coroutine is scheduled on another hart");
    ++in_.counted.hops;
}

// With a permit of the hart on which it is.
workload::task<void> workload::guarded_transfer(worker& self) {
    simulated_hart& here = harts_[arch::this_hart()];
    if (!here.permits.try_acquire()) {
        const std::uint64_t number = here.came++;
        co_await here.permits.acquire();
        in_.expect(number == here.served++, "a semaphore did not serve in order");
    }
    in_.expect(++here.holders <= here.all_permits, "more hold a semaphore than it has permits");
    co_await transfer(self);
    --here.holders;
    here.permits.release();
}

// A transfer on another hart, which is asked to stop from here when its time is over, or goes on until it has ended.
workload::task<void> workload::errand(worker& self) {
    const hart_index home = arch::this_hart();
    const auto there = static_cast<hart_index>(in_.choose.below(in_.host.harts()));
    if (in_.choose.percent(30)) {
        co_await async::on(there, transfer(self));
    } else {
        const ticks span = in_.choose.below(2000);
        const ticks began = in_.host.time();
        const async::timed_result<hart_index> found =
            co_await async::with_timeout(async::on(there, told_transfer(self)), span);
        in_.expect((found.has_value() ? *found : *found.late) == there, "an errand has another result");
        in_.expect(found.has_value() || in_.host.time() >= began + span, "an errand is late before its time is over");
    }
    ++in_.counted.hops;
    in_.expect(arch::this_hart() == home, "an errand ends on another hart");
}

workload::task<hart_index> workload::told_transfer(worker& self) {
    const async::stop_token token = co_await async::get_stop_token();
    const hart_index here = arch::this_hart();
    std::pair<run_context*, hart_index> where{&in_, here};
    const async::stop_callback asked{token,
                                     [](void* told) noexcept {
                                         const auto& [in, hart] = *static_cast<decltype(where)*>(told);
                                         in->expect(arch::this_hart() == hart, "a stop comes from another hart");
                                     },
                                     &where};
    co_await transfer(self, token);
    co_return here;
}

// Of those who can be stopped on this hart.
void workload::stop_somebody() {
    const std::uint64_t start = in_.choose.below(workers_.size());
    for (std::uint64_t i = 0; i < workers_.size(); ++i) {
        worker& other = *workers_[(start + i) % workers_.size()];
        if (other.stop && other.stops_on == arch::this_hart()) {
            in_.counted.stops += other.stop->request_stop() ? 1 : 0;
            return;
        }
    }
}

// One read or write of some of the worker's sectors, checked.
workload::task<void> workload::transfer(worker& self, async::stop_token token) {
    chooser& choose = in_.choose;
    simulated_disk& on = *self.on;
    const std::uint64_t count = choose.between(1, 4);
    const std::uint64_t sector = self.first + choose.below(self.sectors - count + 1);
    const auto part = self.buffer.first(count * sector_bytes);
    const bool writes = choose.percent(50);
    if (writes) {
        for (std::size_t at = 0; at < part.size(); at += 8) {
            const std::uint64_t word = choose.next();
            std::memcpy(part.data() + at, &word, sizeof word);
        }
    } else {
        std::fill(part.begin(), part.end(), unread);
    }
    const bool in_pieces = count > 1 && choose.percent(20);
    const bool may_time_out = choose.percent(20);
    const bool own_source = !token.stop_possible() && choose.percent(50);
    if (own_source) {
        self.stop.emplace();
        self.stops_on = arch::this_hart();
        token = self.stop->get_token();
    }
    on.deliveries_at(sector) = {};
    const ticks started = in_.host.time();
    const std::uint64_t resets = on.disk->count().resets;
    std::array<std::span<std::byte>, 4> into;
    std::array<std::span<const std::byte>, 4> from;
    for (std::uint64_t i = 0; i < count; ++i) {
        from[i] = into[i] = part.subspan(i * sector_bytes, sector_bytes);
    }
    block::request request = in_pieces ? (writes ? on.disk->write(sector, std::span{from.data(), count})
                                                 : on.disk->read(sector, std::span{into.data(), count}))
                                       : (writes ? on.disk->write(sector, part) : on.disk->read(sector, part));
    if (token.stop_possible()) {
        request.set_stop_token(token);
    }
    status outcome;
    bool late = false;
    if (may_time_out) {
        const ticks span = choose.below(3000);
        const ticks began = in_.host.time();
        const async::timed_result<status> answer = co_await async::with_timeout(request, span);
        late = !answer.has_value();
        in_.expect(!late || in_.host.time() >= began + span, "a timeout comes too early");
        outcome = late ? *answer.late : *answer;
    } else {
        outcome = co_await request;
    }
    const bool stopped = late || token.stop_requested();
    if (own_source) {
        self.stop.reset();
    }
    check_transfer(in_, on,
                   {.sector = sector,
                    .data = part,
                    .writes = writes,
                    .in_pieces = in_pieces,
                    .stopped = stopped,
                    .was_reset = on.disk->count().resets != resets,
                    .began = started,
                    .outcome = outcome});
}

workload::task<void> workload::switch_write_cache(worker& self) {
    block::disk& disk = *self.on->disk;
    const bool can = disk.properties().can_switch_write_cache;
    const bool enabled = in_.choose.percent(50);
    const status outcome = co_await disk.set_write_cache(enabled);
    in_.expect(outcome == (can ? status::ok : status::unsupported), "the write cache was not switched as it should");
}

workload::task<void> workload::flush(worker& self) {
    self.on->deliveries_at(self.first) = {};
    const ticks began = in_.host.time();
    const status outcome = co_await self.on->disk->flush();
    in_.expect(outcome != status::cancelled, "cancelled, and nobody has asked for it");
    check_status(in_, *self.on, self.first, began, outcome, status::ok);
}

} // namespace inflight::simulation
