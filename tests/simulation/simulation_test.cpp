// The runtime and the driver, as they are, on simulated harts that run at once, with devices that are late, out of
// order and at times broken (they swallow requests, lie, ask for a reset), with interrupts that are late, lost or for
// nothing, and with stops and timeouts. One seed is one machine, one workload and one interleaving.
//
//     simulation_test --seeds=N [--first-seed=K]   runs N seeds from K (1) on; stops at the first that fails
//     simulation_test --seed=K                     runs that one, and tells what it is made of
//
// What must hold, for every seed:
//   no hart sleeps for ever while work is left (a wake-up was lost), and none goes on for ever; none sleeps, without a
//     wake-up on its way, once something has been posted to it;
//   what one hart posts to another arrives once, there, and in order;
//   every request ends once, with the status that the device's state calls for, and reads return what was written last,
//     by an account kept here, which the disk must agree with at the end; the device is given each once, unless it is
//     reset; what was stopped is not given to it; what it swallows times out, and nothing else does; a device is reset
//     as often as there is a reason for it;
//   a semaphore serves those who wait in the order in which they came, never more at once than it has permits, and has
//     all of them again at the end; nobody wakes before the time asked for; time never goes back;
//   the device models find nothing that the driver must not do; and no frame is left at the end.
#include "async/counting_scope.hpp"
#include "async/executor.hpp"
#include "async/message.hpp"
#include "async/operation.hpp"
#include "async/schedule_on.hpp"
#include "async/scheduler.hpp"
#include "async/semaphore.hpp"
#include "async/stop_token.hpp"
#include "async/task.hpp"
#include "async/with_timeout.hpp"
#include "drivers/block/disk.hpp"
#include "drivers/virtio/mmio.hpp"
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define INFLIGHT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INFLIGHT_SANITIZED 1
#endif
#endif
#ifdef INFLIGHT_SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using namespace inflight;
using arch::hart_index;
using arch::ticks;
using arch::host::fence_kind;
using arch::host::machine;
using arch::host::machine_options;
using arch::host::run_end;
using async::poll_mode;
using async::task;
using block::status;
using model::blk_configuration;
using model::virtio_blk_model;
namespace bits = model::feature;

constexpr std::uint64_t sector_bytes = 512;

struct totals {
    std::uint64_t seeds = 0, harts = 0, steps = 0, switches = 0, interrupts = 0, software_interrupts = 0;
    std::uint64_t requests = 0, failed_requests = 0, sent = 0, hops = 0, sleeps = 0, resets = 0;
    std::uint64_t stops = 0, cancelled = 0, timed_out = 0, lost_interrupts = 0, lies = 0;

    void add(const totals& other) {
        seeds += other.seeds;
        harts += other.harts;
        steps += other.steps;
        switches += other.switches;
        interrupts += other.interrupts;
        software_interrupts += other.software_interrupts;
        requests += other.requests;
        failed_requests += other.failed_requests;
        sent += other.sent;
        hops += other.hops;
        sleeps += other.sleeps;
        resets += other.resets;
        stops += other.stops;
        cancelled += other.cancelled;
        timed_out += other.timed_out;
        lost_interrupts += other.lost_interrupts;
        lies += other.lies;
    }
};

class chooser {
  public:
    explicit chooser(std::uint64_t seed) : state_{seed * 0x9e3779b97f4a7c15 + 0x7f4a7c15} {}

    std::uint64_t next() { // splitmix64
        std::uint64_t value = state_ += 0x9e3779b97f4a7c15;
        value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
        value = (value ^ value >> 27) * 0x94d049bb133111eb;
        return value ^ value >> 31;
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + below(most - least + 1); }
    bool percent(unsigned chance) { return below(100) < chance; }
    template <typename T, std::size_t count>
    T one_of(const T (&choices)[count]) {
        return choices[below(count)];
    }

  private:
    std::uint64_t state_;
};

class machine_memory final : public dma_memory {
  public:
    explicit machine_memory(machine& host) : host_{host} {}
    std::byte* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
        return host_.allocate(bytes, alignment);
    }

  private:
    machine& host_;
};

// Final, as whoever destroys it knows what it is.
struct modern_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
};

// The model follows the accesses of a driver on one hart. Of several harts one may be in the middle of something while
// another does something else; so this stands between the machine and the model, and keeps the rules that are about one
// hart's order by hart.
class watch final : public arch::host::observer {
  public:
    watch(machine& host, virtio_blk_model& device) : host_{host}, device_{device}, acknowledged_(host.harts()) {
        host_.stop_observing(device_);
        host_.observe(*this);
    }
    ~watch() override {
        host_.stop_observing(*this);
        host_.observe(device_);
    }
    watch(const watch&) = delete;
    watch& operator=(const watch&) = delete;

    void on_fence(fence_kind kind) override {
        expect_acknowledge_fence(kind == fence_kind::acknowledge);
        device_.on_fence(kind);
    }
    void on_mmio_read(std::uintptr_t address, unsigned width) override {
        expect_acknowledge_fence(false);
        device_.on_mmio_read(address, width);
    }
    void on_mmio_write(std::uintptr_t address, unsigned width, std::uint32_t value) override {
        expect_acknowledge_fence(false);
        acknowledged_[host_.selected_hart()] =
            address == device_.configuration().base + model::reg::interrupt_ack && (value & 1) != 0;
        device_.on_mmio_write(address, width, value);
    }
    void on_device_word_read(const void* word) override { device_.on_device_word_read(word); }
    // What a hart has made available, and not yet told of, is its own business while it runs.
    void on_wait_for_interrupt() override {
        expect_acknowledge_fence(false);
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            if (hart != host_.selected_hart() && !host_.ended(hart) && !host_.waiting(hart)) {
                return;
            }
        }
        device_.on_wait_for_interrupt();
    }

    static constexpr const char* by_hart = "ACKNOWLEDGE"; // the model's own rule, which is kept here instead

  private:
    void expect_acknowledge_fence(bool it_is) {
        if (acknowledged_[host_.selected_hart()] && !it_is) {
            host_.report("ACKNOWLEDGE FENCE", "something else follows the acknowledgement of an interrupt");
        }
        acknowledged_[host_.selected_hart()] = false;
    }

    machine& host_;
    virtio_blk_model& device_;
    std::vector<bool> acknowledged_; // by hart: the fence is due
};

class simulation {
  public:
    simulation(std::uint64_t seed, bool verbose)
        : choose_{seed}, verbose_{verbose}, host_{machine_of(seed)}, memory_{host_} {}

    // False if something was found; it is in description() then.
    bool run() {
        say("seed " + std::to_string(host_.seed()) + ": " + std::to_string(host_.harts()) + " harts, switches " +
            std::to_string(host_.options().switches) + (host_.options().priorities ? ", priorities" : ""));
        make_harts();
        make_devices();
        make_workers();
        std::vector<machine::callback> bodies;
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            bodies.emplace_back([this, hart] { run_hart(hart); });
        }
        host_.on_step([this] { check_step(); });
        // When all is done all harts sleep: a stall is how a run ends if nothing goes wrong.
        const run_end end = host_.run(std::move(bodies), {.steps = 3'000'000, .stall_permitted = true});
        if (host_.violations().empty()) {
            check_end(end);
        }
        if (!host_.violations().empty()) {
            return false;
        }
        count();
        destroy();
        return host_.violations().empty();
    }

    std::string description() const {
        std::string text = host_.describe();
        for (hart_index hart = 0; hart < harts_.size(); ++hart) {
            text += "\n  hart " + std::to_string(hart) + ": " + std::to_string(harts_[hart]->scope.size()) +
                    " tasks, posted to it and not arrived " + std::to_string(harts_[hart]->posted) +
                    (sleeping_[hart] ? ", asleep" : "");
        }
        for (const auto& each : devices_) {
            text += "\n  disk: " + std::to_string(each->model->in_flight()) + " requests in flight, " +
                    std::to_string(each->disk->count().resets) + " resets, line " +
                    (host_.line_high(each->model->configuration().line) ? "high" : "low");
        }
        return text;
    }
    const totals& figures() const { return totals_; }

  private:
    static constexpr hart_index max_harts = 4;

    struct hart_world {
        explicit hart_world(std::size_t permits_of_it) : all_permits{permits_of_it}, permits{permits_of_it} {}

        std::vector<std::byte> frame_memory;
        std::unique_ptr<async::executor> executor;
        async::counting_scope scope;
        std::size_t all_permits;
        async::semaphore permits;
        std::size_t holders = 0;
        std::uint64_t came = 0, served = 0; // of those who had to wait

        std::int64_t posted = 0;                      // by what has come back from post(), less what has arrived
        std::vector<std::uint64_t> sent_to, got_from; // by hart
        bool over = false;
        bool runs_in_one = false; // in executor::run_until(), or else step by step
        std::unique_ptr<async::message> the_end;
    };

    // Goes on on another hart.
    class hop : async::operation {
      public:
        hop(simulation& in, hart_index to) : in_{in}, to_{to} {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) noexcept {
            continuation = frame;
            from_ = arch::this_hart();
            number_ = in_.harts_[from_]->sent_to[to_]++;
            hart_world& target = *in_.harts_[to_]; // this may have gone when the post has been done
            target.executor->post(*this);
            ++target.posted;
        }
        void await_resume() const noexcept {
            hart_world& here = *in_.harts_[to_];
            --here.posted;
            ++in_.totals_.hops;
            in_.expect(arch::this_hart() == to_, "what was posted arrives on another hart");
            in_.expect(number_ == here.got_from[from_]++, "what was posted arrives out of order");
        }

      private:
        simulation& in_;
        hart_index to_;
        hart_index from_ = 0;
        std::uint64_t number_ = 0;
    };

    struct device {
        std::unique_ptr<virtio_blk_model> model;
        std::unique_ptr<watch> observer;
        std::shared_ptr<virtio::transport> transport;
        std::unique_ptr<block::disk> disk;
        std::array<std::uint64_t, 64> delivered{}; // interrupts, by queue: see deliver_messages()
        bool may_reset = false, lies = false;
        ticks limit = 0;
        std::uint64_t swallow_after = 0, swallow = 0, swallowed = 0; // requests of the device
        std::uint64_t dead = 0;         // requests that timed out while it waited for its reset
        std::vector<std::byte> account; // what must be on the disk
        std::vector<bool> known;        // by sector; not after a write that failed
    };

    // One coroutine with its own sectors of one disk, and its own buffer.
    struct worker {
        worker() = default; // not an aggregate: see coroutine.hpp

        hart_index home;
        device* on;
        std::uint64_t first;
        std::uint64_t sectors;
        std::span<std::byte> buffer;
        unsigned rounds;
        ticks last_seen = 0;
        unsigned ended = 0;

        // Of the request under way.
        std::uint64_t taken = 0;     // how often the device was given it, or pieces of it
        std::uint64_t swallowed = 0; // how often it has kept it
        ticks began = 0;
        std::optional<async::stop_source> stop;
        hart_index stops_on = 0; // the source belongs to that hart
    };

    machine_options machine_of(std::uint64_t seed) {
        machine_options options;
        options.seed = seed;
        options.harts = static_cast<hart_index>(choose_.between(1, max_harts));
        options.memory_bytes = std::size_t{640} << 10;
        constexpr unsigned switches[] = {1, 10, 100, 500, 1000};
        options.switches = choose_.one_of(switches);
        options.priorities = choose_.percent(30);
        options.longest_turn = choose_.between(50, 2000);
        options.cost_of_now = choose_.between(1, 20);
        options.cost_of_access = choose_.between(1, 40);
        options.cost_of_step = choose_.between(1, 4);
        options.longest_line_delay = choose_.percent(40) ? choose_.between(1, 2000) : 0;
        options.longest_software_delay = choose_.percent(40) ? choose_.between(1, 500) : 0;
        options.spurious_wake_ups = choose_.percent(30) ? 200 : 0;
        options.spurious_lines = choose_.percent(30) ? 5 : 0;
        options.pauses = choose_.percent(30) ? 10 : 0;
        options.longest_pause = choose_.between(10, 5000);
        options.weak_failures = choose_.percent(30) ? 200 : 0;
        options.trace_length = verbose_ ? 1024 : 64;
        return options;
    }

    void make_harts() {
        constexpr poll_mode modes[] = {poll_mode::off, poll_mode::off, poll_mode::adaptive, poll_mode::always};
        const poll_mode for_all = choose_.one_of(modes);
        const bool mixed = choose_.percent(20);
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            host_.select_hart(hart);
            auto& made = *harts_.emplace_back(std::make_unique<hart_world>(choose_.between(1, 3)));
            made.frame_memory.resize((std::size_t{64} << 10) + 64);
            const auto start = reinterpret_cast<std::uintptr_t>(made.frame_memory.data());
            made.executor =
                std::make_unique<async::executor>(std::span{made.frame_memory.data() + (-start & 63), 64 << 10});
            const poll_mode mode = mixed ? choose_.one_of(modes) : for_all;
            made.executor->set_poll_mode(mode);
            made.runs_in_one = choose_.percent(75);
            any_always_ |= mode == poll_mode::always;
            say("hart " + std::to_string(hart) + ": poll mode " + std::to_string(static_cast<int>(mode)));
            made.sent_to.resize(host_.harts());
            made.got_from.resize(host_.harts());
            made.the_end = std::make_unique<async::message>(
                [](void* over) noexcept { *static_cast<bool*>(over) = true; }, &made.over);
        }
        host_.select_hart(0);
    }

    void make_devices() {
        constexpr std::uint32_t rings[] = {4, 8, 16, 64};
        const auto disks = static_cast<unsigned>(choose_.percent(25) ? 2 : 1);
        for (unsigned disk = 0; disk < disks; ++disk) {
            blk_configuration configuration;
            configuration.version = choose_.percent(50) ? 1 : 2;
            configuration.capacity = disk_sectors;
            configuration.base = 0x1000'1000 + std::uintptr_t{0x1000} * disk;
            configuration.line = 1 + disk;
            configuration.queues = static_cast<unsigned>(choose_.between(1, 5));
            configuration.queue_size_max = choose_.one_of(rings);
            configuration.tolerated.insert(watch::by_hart);
            // One hart has seen that the device needs a reset; another may be about to notify, until it is stopped.
            configuration.tolerated.insert("STAT-04");
            // One hart has read InterruptStatus and is about to acknowledge; the home hart resets the device in
            // between.
            if (host_.harts() > 1) {
                configuration.tolerated.insert("MMIO-30");
            }
            std::uint64_t features = model::usual_features(configuration.version);
            for (const unsigned number : {bits::event_idx, bits::indirect_desc, bits::mq, bits::flush}) {
                if (choose_.percent(30)) {
                    features &= ~bits::bit(number);
                }
            }
            configuration.features = features;

            device& made = *devices_.emplace_back(std::make_unique<device>());
            made.model = std::make_unique<virtio_blk_model>(host_, configuration);
            made.model->fill(host_.seed() + disk);
            made.account = made.model->disk();
            made.known.assign(disk_sectors, true);
            start(made);
            made.observer = std::make_unique<watch>(host_, *made.model);
            misbehave(made);
            say("disk " + std::to_string(disk) + ": version " + std::to_string(configuration.version) + ", queues " +
                std::to_string(configuration.queues) + " of " + std::to_string(configuration.queue_size_max) +
                ", features " + std::to_string(features) + (made.may_reset ? ", asks for a reset" : "") +
                (made.lies ? ", lies" : "") + ", limit " + std::to_string(made.limit) + ", swallows " +
                std::to_string(made.swallow));
        }
    }

    // On any hart, with its interrupt at any or all of them.
    void start(device& made) {
        host_.select_hart(static_cast<hart_index>(choose_.below(host_.harts())));
        const blk_configuration& configuration = made.model->configuration();
        const virtio::mmio_identity slot = virtio::identify_mmio(configuration.base);
        if (slot.outcome != virtio::error::none) {
            return host_.report("START", "the device is not recognised");
        }
        if (slot.version == 1) {
            made.transport = std::make_shared<virtio::legacy_mmio_transport>(configuration.base);
        } else {
            made.transport = std::make_shared<modern_transport>(configuration.base);
        }
        made.disk = std::make_unique<block::disk>(*made.transport);
        if (host_.seed() % 4 == 0) { // a transport with an interrupt for each queue
            host_.line_handler(configuration.line, [&made] { deliver_messages(made); });
        } else {
            host_.line_handler(configuration.line, [disk = made.disk.get()] { disk->handle_line(); });
        }
        if (choose_.percent(40)) {
            std::vector<hart_index> all;
            for (hart_index hart = 0; hart < host_.harts(); ++hart) {
                all.push_back(hart);
            }
            host_.share_line(configuration.line, all);
        } else {
            host_.route_line(configuration.line, static_cast<hart_index>(choose_.below(host_.harts())));
        }
        made.limit = choose_.percent(50) ? choose_.between(30'000, 60'000) : 0;
        if (made.disk->start(memory_, {.request_timeout = made.limit}) != virtio::error::none) {
            host_.report("START", "the disk does not start");
        }
        host_.select_hart(0);
    }

    // What PCI does with MSI-X: one interrupt for each that the device has raised for a queue, and one for changes.
    static void deliver_messages(device& made) {
        const virtio::interrupt_cause cause = made.transport->acknowledge_interrupt();
        for (std::uint16_t queue = 0; queue < made.model->configuration().queues; ++queue) {
            const std::uint64_t raised = made.model->counters(queue).interrupts;
            if (std::exchange(made.delivered[queue], raised) != raised) {
                made.disk->handle_queue(queue);
            }
        }
        if (cause.has(virtio::interrupt_cause::configuration_change)) {
            made.disk->handle_configuration();
        }
    }

    void misbehave(device& made) {
        model::behaviour& b = made.model->behave;
        b.notification_latency_max = b.notification_latency_min + choose_.below(200);
        b.latency_min = choose_.below(100);
        b.latency_max = b.latency_min + choose_.below(4000);
        b.random_order = choose_.percent(60);
        b.burst = choose_.percent(40) ? static_cast<unsigned>(choose_.between(1, 8)) : 1;
        b.spurious_chance = choose_.percent(30) ? 200 : 0;
        b.interrupt_suppressed_chance = choose_.percent(30) ? 200 : 0;
        b.complete_in_rearm_window = choose_.percent(30);
        b.complete_at_acknowledge = choose_.percent(30);
        b.undefined_interrupt_bits = choose_.percent(30);
        b.suppress_for = choose_.percent(30) ? choose_.between(1, 1000) : 0;
        b.avail_event_ahead = choose_.percent(30) ? static_cast<unsigned>(choose_.below(8)) : 0;
        b.trusts_notifications = choose_.percent(70);
        b.used_flags_noise = choose_.percent(30);
        b.avail_event_noise = choose_.percent(30);
        if (choose_.percent(30)) {
            for (unsigned i = 0; i < 6; ++i) {
                b.bad_sectors.insert(choose_.below(disk_sectors));
            }
        }
        made.may_reset = choose_.percent(20);
        if (made.may_reset) {
            made.model->inject(model::fault::needs_reset, choose_.below(12), choose_.between(1, 3));
        }
        made.lies = choose_.percent(10);
        if (made.lies) {
            // Where each slot has one descriptor, a duplicate may overwrite a used element that the driver has not read
            // yet.
            const bool indirect = (made.model->offered() & bits::bit(bits::indirect_desc)) != 0;
            made.model->inject(indirect ? lies[0] : choose_.one_of(lies), choose_.below(12), choose_.between(1, 2));
        }
        // Only the limit helps against these.
        if (made.limit != 0) {
            if (choose_.percent(30)) {
                made.swallow_after = choose_.below(12);
                made.swallow = choose_.between(1, 2);
            }
            if (choose_.percent(30)) {
                made.model->inject(model::fault::no_interrupt, choose_.below(12), choose_.between(1, 3));
            }
        }
        // A device that is slow, but in time, and does nothing else that could take longer.
        if (made.limit != 0 && !made.may_reset && !made.lies && made.swallow == 0 && choose_.percent(20)) {
            b.random_order = false;
            b.burst = 1;
            b.latency_max = made.limit * 9 / 10;
        }
        for (std::uint64_t changes = choose_.percent(20) ? choose_.between(1, 3) : 0; changes != 0; --changes) {
            host_.after(choose_.below(20'000), [model = made.model.get()] { model->raise_config_interrupt(); });
        }
        b.never_complete = [this, &made](const model::request_view& view) {
            return swallows(made, view);
        };
    }

    // The device is given a request. Whether it keeps it for ever.
    bool swallows(device& by, const model::request_view& view) {
        if (view.type != model::request_type::in && view.type != model::request_type::out) {
            return false;
        }
        worker& of = *workers_[view.sector / sectors_of_each];
        ++of.taken;
        if (by.swallow_after != 0) {
            --by.swallow_after;
            return false;
        }
        if (by.swallow == 0) {
            return false;
        }
        --by.swallow;
        ++by.swallowed;
        ++of.swallowed;
        return true;
    }

    void make_workers() {
        std::uint64_t next_sector = 0;
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            host_.select_hart(hart);
            const auto count = static_cast<std::uint64_t>(choose_.between(1, 4));
            for (std::uint64_t i = 0; i < count; ++i) {
                worker& made = *workers_.emplace_back(std::make_unique<worker>());
                made.home = hart;
                made.on = devices_[choose_.below(devices_.size())].get();
                made.sectors = sectors_of_each;
                made.first = next_sector;
                next_sector += made.sectors;
                made.buffer = {host_.allocate(4 * sector_bytes, sector_bytes), 4 * sector_bytes};
                made.rounds = static_cast<unsigned>(choose_.between(1, 6));
                async::counting_scope& scope = harts_[hart]->scope;
                if (choose_.percent(20)) { // the frame here, the work elsewhere
                    made.home = static_cast<hart_index>(choose_.below(host_.harts()));
                }
                if (!(made.home != hart ? async::spawn_on(scope, made.home, work(made)) : scope.spawn(work(made)))) {
                    host_.report("FRAMES", "no memory for a frame");
                }
            }
        }
        host_.select_hart(0);
    }

    // ---- on the harts

    void run_hart(hart_index hart) {
        hart_world& self = *harts_[hart];
        if (!any_always_ && self.runs_in_one) { // as a kernel does it
            self.executor->run_until(self.over);
        }
        while (!self.over) {
            if (self.executor->tick()) {
                continue;
            }
            // A hart that looks for completions for ever has to be told.
            if (any_always_ && !told_ && all_ended()) {
                told_ = true;
                for (const auto& each : harts_) {
                    each->the_end->post(*each->executor);
                }
            }
            if (!self.over) {
                self.executor->idle();
            }
        }
    }

    bool all_ended() const {
        return std::all_of(harts_.begin(), harts_.end(), [](const auto& each) { return each->scope.size() == 0; });
    }

    task<void> work(worker& self) {
        hart_world& hart = *harts_[self.home];
        for (unsigned round = 0; round < self.rounds; ++round) {
            const std::uint64_t kind = choose_.below(100);
            if (kind < 40) {
                co_await transfer(self);
            } else if (kind < 55) { // on other harts, and back, for the frame belongs to this one
                for (std::uint64_t hops = choose_.below(3); hops != 0; --hops) {
                    if (const hart_index there = static_cast<hart_index>(choose_.below(host_.harts()));
                        choose_.percent(50)) {
                        co_await hop{*this, there};
                    } else {
                        co_await async::schedule_on{there};
                        expect(arch::this_hart() == there, "a coroutine is scheduled on another hart");
                        ++totals_.hops;
                    }
                    const std::uint64_t there = choose_.below(4);
                    if (there < 2) {
                        co_await transfer(self);
                    } else if (there == 2) {
                        co_await guarded_transfer(self);
                    }
                }
                if (const hart_index home = self.home; choose_.percent(50)) {
                    co_await hop{*this, home};
                } else {
                    co_await async::schedule_on{home};
                    expect(arch::this_hart() == home, "a coroutine is scheduled on another hart");
                    ++totals_.hops;
                }
            } else if (kind < 65) {
                co_await guarded_transfer(self);
            } else if (kind < 75) {
                co_await errand(self);
            } else if (kind < 82) {
                stop_somebody();
            } else if (kind < 87) {
                const ticks until = host_.time() + choose_.below(3000);
                co_await async::sleep_until(until);
                expect(host_.time() >= until, "woken too early");
            } else if (kind < 90) {
                co_await async::yield();
            } else {
                self.taken = self.swallowed = 0;
                self.began = host_.time();
                const status outcome = co_await self.on->disk->flush();
                expect(outcome != status::cancelled, "cancelled, and nobody has asked for it");
                settle(self, outcome, status::ok);
            }
            expect(arch::this_hart() == self.home, "a coroutine goes on on another hart");
            expect(&async::executor::current() == hart.executor.get(), "a hart has another one's executor");
            expect(host_.time() >= self.last_seen, "time goes back");
            self.last_seen = host_.time();
        }
        ++self.ended;
    }

    // With a permit of the hart on which it is.
    task<void> guarded_transfer(worker& self) {
        hart_world& here = *harts_[arch::this_hart()];
        if (!here.permits.try_acquire()) {
            const std::uint64_t number = here.came++;
            co_await here.permits.acquire();
            expect(number == here.served++, "a semaphore did not serve in order");
        }
        expect(++here.holders <= here.all_permits, "more hold a semaphore than it has permits");
        co_await transfer(self);
        --here.holders;
        here.permits.release();
    }

    // A transfer on another hart, which is asked to stop from here when its time is over, or goes on until it has
    // ended.
    task<void> errand(worker& self) {
        const hart_index home = arch::this_hart();
        const auto there = static_cast<hart_index>(choose_.below(host_.harts()));
        if (choose_.percent(30)) {
            co_await async::on(there, transfer(self));
        } else {
            const ticks span = choose_.below(2000);
            const ticks began = host_.time();
            const async::timed_result<hart_index> found =
                co_await async::with_timeout(async::on(there, told_transfer(self)), span);
            expect((found.has_value() ? *found : *found.late) == there, "an errand has another result");
            expect(found.has_value() || host_.time() >= began + span, "an errand is late before its time is over");
        }
        ++totals_.hops;
        expect(arch::this_hart() == home, "an errand ends on another hart");
    }
    task<hart_index> told_transfer(worker& self) {
        const async::stop_token token = co_await async::get_stop_token();
        const hart_index here = arch::this_hart();
        std::pair<simulation*, hart_index> where{this, here};
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
    void stop_somebody() {
        const std::uint64_t start = choose_.below(workers_.size());
        for (std::uint64_t i = 0; i < workers_.size(); ++i) {
            worker& other = *workers_[(start + i) % workers_.size()];
            if (other.stop && other.stops_on == arch::this_hart()) {
                totals_.stops += other.stop->request_stop() ? 1 : 0;
                return;
            }
        }
    }

    // One read or write of some of the worker's sectors, checked.
    task<void> transfer(worker& self, async::stop_token token = {}) {
        device& on = *self.on;
        const std::uint64_t count = choose_.between(1, 4);
        const std::uint64_t sector = self.first + choose_.below(self.sectors - count + 1);
        const auto part = self.buffer.first(count * sector_bytes);
        const bool writes = choose_.percent(50);
        if (writes) {
            for (std::size_t at = 0; at < part.size(); at += 8) {
                const std::uint64_t word = choose_.next();
                std::memcpy(part.data() + at, &word, sizeof word);
            }
        } else {
            std::memset(part.data(), 0xEE, part.size());
        }
        const bool in_pieces = count > 1 && choose_.percent(20);
        const bool may_time_out = choose_.percent(20);
        const bool own_source = !token.stop_possible() && choose_.percent(50);
        if (own_source) {
            self.stop.emplace();
            self.stops_on = arch::this_hart();
            token = self.stop->get_token();
        }
        self.taken = self.swallowed = 0;
        self.began = host_.time();
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
            const ticks span = choose_.below(3000);
            const ticks began = host_.time();
            const async::timed_result<status> answer = co_await async::with_timeout(request, span);
            late = !answer.has_value();
            expect(!late || host_.time() >= began + span, "a timeout comes too early");
            outcome = late ? *answer.late : *answer;
        } else {
            outcome = co_await request;
        }
        const bool stopped = late || token.stop_requested();
        if (own_source) {
            self.stop.reset();
        }

        const bool whole = !in_pieces;
        const bool bad = touches_bad(on, sector, count);
        const bool was_reset = on.disk->count().resets != resets;
        if (outcome == status::cancelled) {
            expect(stopped, "cancelled, and nobody has asked for it");
            expect(!whole || self.taken == 0 || was_reset, "cancelled with the device");
        } else if (outcome == status::ok) {
            // What a device has lied about does not go in again.
            const bool repeated = was_reset && (on.may_reset || on.swallowed != 0) && self.taken != 0;
            expect(whole ? self.taken == 1 || repeated : self.taken != 0,
                   "the device was given a request " + std::to_string(self.taken) + " times");
        }
        if (outcome == status::timed_out) {
            expect(was_reset, "timed out without a reset");
        } else if (self.swallowed != 0) {
            // A reset for another reason may have given it back.
            expect(was_reset, "the device has swallowed it, and it ends");
            expect(on.may_reset || on.lies || on.swallowed > 1 || outcome == status::cancelled ||
                       (!whole && outcome == status::io_error),
                   "the device has swallowed it, and it does not time out");
        }
        settle(self, outcome, bad ? status::io_error : status::ok);
        if (writes) {
            const bool nothing_happened = outcome == status::cancelled && whole && self.taken == 0;
            if (outcome == status::ok) {
                std::memcpy(on.account.data() + sector * sector_bytes, part.data(), part.size());
            }
            for (std::uint64_t i = 0; i < count; ++i) {
                on.known[sector + i] = outcome == status::ok || (on.known[sector + i] && nothing_happened);
            }
        } else if (outcome == status::ok) {
            expect(agrees(on, sector, part), "wrong data at sector " + std::to_string(sector));
        } else if (outcome == status::cancelled && self.taken == 0) {
            expect(std::all_of(part.begin(), part.end(), [](std::byte each) { return each == std::byte{0xEE}; }),
                   "cancelled, and something was read");
        }
    }

    // What is asked of a cancelled request, and of one that timed out, is asked where it is known.
    void settle(const worker& self, status outcome, status expected) {
        ++totals_.requests;
        totals_.failed_requests += outcome != status::ok ? 1 : 0;
        totals_.cancelled += outcome == status::cancelled ? 1 : 0;
        totals_.timed_out += outcome == status::timed_out ? 1 : 0;
        device& on = *self.on;
        if (outcome == status::timed_out) {
            expect(host_.time() - self.began >= on.limit, "timed out before its time");
        }
        if (outcome == status::timed_out && self.swallowed == 0) {
            // A device that has asked for its reset does nothing before it, and harts may be slow to reset it.
            ++on.dead;
            expect(on.model->fired(model::fault::needs_reset) != 0, "timed out, and the device has not swallowed it");
        }
        expect(outcome == expected || outcome == status::cancelled || outcome == status::timed_out ||
                   (outcome == status::device_reset && on.disk->count().protocol_violations != 0),
               std::string{"status "} + block::to_string(outcome) + " instead of " + block::to_string(expected));
    }

    static bool touches_bad(const device& on, std::uint64_t sector, std::uint64_t count) {
        const auto& bad = on.model->behave.bad_sectors;
        const auto found = bad.lower_bound(sector);
        return found != bad.end() && *found < sector + count;
    }

    static bool agrees(const device& on, std::uint64_t sector, std::span<const std::byte> data) {
        for (std::size_t i = 0; i < data.size() / sector_bytes; ++i) {
            if (on.known[sector + i] &&
                std::memcmp(data.data() + i * sector_bytes, on.account.data() + (sector + i) * sector_bytes,
                            sector_bytes) != 0) {
                return false;
            }
        }
        return true;
    }

    // ---- what must hold

    void expect(bool holds, const std::string& otherwise) {
        if (!holds) {
            host_.report("WRONG", otherwise);
        }
    }
    void expect(bool holds, const char* otherwise) {
        if (!holds) {
            host_.report("WRONG", otherwise);
        }
    }

    void check_step() {
        expect(host_.time() >= time_, "time goes back");
        time_ = host_.time();
        ++steps_of_[host_.selected_hart()];
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            sleeping_[hart] = host_.waiting(hart);
            if (harts_[hart]->posted <= 0 || !host_.waiting(hart) || host_.wake_due(hart)) {
                forgotten_[hart].reset();
            } else if (!forgotten_[hart]) {
                forgotten_[hart] = steps_of_;
            } else if (others_have_gone_on(hart, *forgotten_[hart])) {
                host_.report("LOST WAKE-UP", "hart " + std::to_string(hart) + " sleeps although something was posted");
            }
        }
    }

    // Whoever posts may be on his way from the inbox to the interrupt, with an interrupt of his own in between.
    bool others_have_gone_on(hart_index sleeper, const std::array<std::uint64_t, max_harts>& since) const {
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            if (hart != sleeper && !host_.ended(hart) && !host_.waiting(hart) && steps_of_[hart] - since[hart] < 200) {
                return false;
            }
        }
        return true;
    }

    void check_end(run_end end) {
        std::string left;
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            if (harts_[hart]->scope.size() != 0) {
                left += " hart " + std::to_string(hart) + ": " + std::to_string(harts_[hart]->scope.size()) + " tasks;";
            }
        }
        if (!left.empty()) {
            return host_.report("STALL", "every hart waits, and nothing can ever wake one;" + left);
        }
        expect(end == (any_always_ ? run_end::finished : run_end::stalled), "the run ends in another way");
        for (const auto& each : workers_) {
            expect(each->ended == 1, "a task has not ended once");
        }
        for (const auto& each : harts_) {
            expect(each->executor->frames().count().live == 0, "a frame is left");
            expect(each->executor->frames().count().failures == 0, "there was no memory for a frame");
            expect(each->permits.available() == each->all_permits, "permits are missing");
            expect(each->posted == 0, "something that was posted has not arrived");
            expect(each->holders == 0 && each->came == each->served, "somebody waits for a permit");
        }
        for (const auto& each : devices_) {
            each->observer.reset();
        }
        // What polling harts have left when they were told to stop.
        for (unsigned round = 0; round < 8 && any_always_; ++round) {
            for (hart_index hart = 0; hart < host_.harts(); ++hart) {
                host_.select_hart(hart);
                host_.run_until(host_.time() + 20'000);
                while (harts_[hart]->executor->tick()) {
                }
            }
        }
        host_.select_hart(0);
        for (const auto& each : devices_) {
            expect(!each->disk->lost(), "a device was lost");
            const block::disk::counters counted = each->disk->count();
            std::uint64_t told = 0;
            for (const model::fault lie : lies) {
                told += each->model->fired(lie);
            }
            const std::uint64_t asked = each->model->fired(model::fault::needs_reset);
            expect(counted.protocol_violations <= told, "a device is said to break the rules");
            // One reset may be for several reasons.
            const std::uint64_t reasons = asked + counted.protocol_violations + each->swallowed + each->dead;
            const bool several = (asked != 0) + (counted.protocol_violations != 0) + (each->swallowed != 0) > 1 ||
                                 counted.protocol_violations > 1 || each->swallowed > 1 || each->dead != 0;
            expect(several ? counted.resets != 0 && counted.resets <= reasons : counted.resets == reasons,
                   "a device was reset " + std::to_string(counted.resets) + " times for " + std::to_string(reasons) +
                       " reasons");
            expect(each->limit != 0 || counted.lost_interrupts == 0, "an interrupt was missed without a limit");
            static_cast<void>(each->model->idle()); // reports what is left
            expect(agrees(*each, 0, each->model->disk()), "the disk does not hold what was written");
        }
    }

    void count() {
        totals_.seeds = 1;
        totals_.harts = host_.harts();
        totals_.steps = host_.steps();
        totals_.switches = host_.switches();
        totals_.interrupts = host_.interrupts_taken();
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            totals_.software_interrupts += host_.software_interrupts_taken(hart);
            totals_.sleeps += harts_[hart]->executor->count().sleeps;
        }
        for (const auto& each : devices_) {
            totals_.resets += each->disk->count().resets;
            totals_.sent += each->disk->count().forwarded;
            totals_.lost_interrupts += each->model->fired(model::fault::no_interrupt);
            totals_.lies += each->disk->count().protocol_violations;
        }
    }

    void destroy() {
        for (const auto& each : devices_) {
            host_.enable_line(each->model->configuration().line, false);
        }
        devices_.clear();
        for (hart_index hart = 0; hart < host_.harts(); ++hart) {
            host_.select_hart(hart);
            harts_[hart].reset();
        }
    }

    void say(const std::string& what) const {
        if (verbose_) {
            std::printf("%s\n", what.c_str());
        }
    }

    static constexpr std::uint64_t disk_sectors = 128;
    static constexpr std::uint64_t sectors_of_each = 8; // worker

    // Lies that tell at once: what they look like does not depend on what the driver has done meanwhile.
    static constexpr model::fault lies[] = {model::fault::used_id_out_of_range, model::fault::used_duplicate};

    chooser choose_;
    bool verbose_;
    machine host_;
    machine_memory memory_;
    bool any_always_ = false; // some hart polls for ever
    bool told_ = false;
    std::array<bool, max_harts> sleeping_{}; // at the last step
    std::array<std::uint64_t, max_harts> steps_of_{};
    std::array<std::optional<std::array<std::uint64_t, max_harts>>, max_harts> forgotten_{}; // since these steps
    std::vector<std::unique_ptr<hart_world>> harts_;
    std::vector<std::unique_ptr<device>> devices_;
    std::vector<std::unique_ptr<worker>> workers_;
    ticks time_ = 0;
    totals totals_;
};

// ---- the command line

std::uint64_t seed_under_way = 0;

// For what is not found in an orderly way.
void say_seed(int signal) {
    char text[64];
    const int length = std::snprintf(text, sizeof text, "signal %d at --seed=%llu\n", signal,
                                     static_cast<unsigned long long>(seed_under_way));
    static_cast<void>(!write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

#ifdef INFLIGHT_SANITIZED
void say_seed_of_the_sanitizer() {
    std::fprintf(stderr, "at --seed=%llu\n", static_cast<unsigned long long>(seed_under_way));
}
#endif

void catch_signals() {
#ifdef INFLIGHT_SANITIZED
    __sanitizer_set_death_callback(say_seed_of_the_sanitizer);
#endif
    static std::array<std::byte, 65536> stack;
    stack_t alternate{};
    alternate.ss_sp = stack.data();
    alternate.ss_size = stack.size();
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_handler = say_seed;
    action.sa_flags = SA_ONSTACK;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM}) {
        sigaction(signal, &action, nullptr);
    }
}

int usage() {
    std::fprintf(stderr, "usage: simulation_test [--seeds=N] [--first-seed=K] | --seed=K\n");
    return 2;
}

} // namespace

int main(int count, char** arguments) {
    std::uint64_t first = 1, seeds = 1000;
    bool one = false;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = arguments[i];
        const std::size_t equals = argument.find('=');
        if (equals == std::string_view::npos) {
            return usage();
        }
        char* end = nullptr;
        const std::uint64_t value = std::strtoull(arguments[i] + equals + 1, &end, 0);
        if (*end != '\0' || end == arguments[i] + equals + 1) {
            return usage();
        }
        const std::string_view name = argument.substr(0, equals);
        if (name == "--seeds") {
            seeds = value;
        } else if (name == "--first-seed") {
            first = value;
        } else if (name == "--seed") {
            first = value;
            seeds = 1;
            one = true;
        } else {
            return usage();
        }
    }
    catch_signals();
    // Each seed has the same large blocks; to give them back to the system each time takes longer than the seed.
    mallopt(M_MMAP_THRESHOLD, 1 << 28);
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    const auto start = std::chrono::steady_clock::now();
    totals all;
    for (std::uint64_t seed = first; seed - first < seeds; ++seed) {
        seed_under_way = seed;
        alarm(60);
        simulation simulated{seed, one};
        if (!simulated.run()) {
            std::fprintf(stderr, "%s\nfailed; again with: simulation_test --seed=%llu\n",
                         simulated.description().c_str(), static_cast<unsigned long long>(seed));
            std::fflush(nullptr);
            std::_Exit(1); // what is under way cannot be destroyed
        }
        all.add(simulated.figures());
    }
    alarm(0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const auto print = [](const char* name, std::uint64_t value) {
        std::printf(", %llu %s", static_cast<unsigned long long>(value), name);
    };
    std::printf("%llu seeds from %llu on, %.1f s", static_cast<unsigned long long>(all.seeds),
                static_cast<unsigned long long>(first), took.count());
    print("harts", all.harts);
    print("steps", all.steps);
    print("switches", all.switches);
    print("interrupts", all.interrupts);
    print("of them by software", all.software_interrupts);
    print("sleeps", all.sleeps);
    print("requests", all.requests);
    print("of them failed", all.failed_requests);
    print("of them through another hart", all.sent);
    print("hops", all.hops);
    print("resets of devices", all.resets);
    print("stops", all.stops);
    print("requests cancelled", all.cancelled);
    print("timed out", all.timed_out);
    print("interrupts lost", all.lost_interrupts);
    print("lies", all.lies);
    std::printf("\n");
    return 0;
}
