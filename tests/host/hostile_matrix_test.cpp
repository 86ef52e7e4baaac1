// The hostile matrix: thirty kinds of faults of a device, each in eight states of the driver. All 240 cells are generated,
// and printed as a table: passed, FAILED, or impossible, with the reason.
//
// A cell is many runs: by kinds of device, by the details of the fault, and, where the driver sets the device up, by the
// register access at which it strikes. A cell passes if in each run every waiter ends exactly once, with a status that this
// fault may have, and true data where it is ok; no buffer that was handed back is written again; the driver breaks no rule
// of the model; the device does not have to be helped out, as the driver has a time limit; and then all slots are there and
// the next operations work, or the disk is lost for good and says so at once.
//
// What is permitted is listed per fault (may_end_with(), may_fail_to_start()) and no wider than the fault.
//
// Each cell runs in a process of its own, so that one that panics, crashes or hangs does not end the others.
#include "async/stop_token.hpp"
#include "tests/host/driver_fixture.hpp"

#include <array>
#include <boost/test/results_collector.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace inflight;
using namespace inflight::test;
using arch::host::fence_kind;
using virtio::error;
namespace bits = model::feature;

// ---- the faults, by the numbers that they have in the table

enum kind : unsigned {
    index_jump = 1,
    index_backwards,
    id_out_of_range,
    id_of_free_slot,
    id_in_mid_chain,
    duplicate,
    length_too_long,
    length_too_short,
    status_not_written,
    status_unknown,
    io_error,
    unsupported,
    never_completes,
    no_interrupt,
    spurious_interrupt,
    interrupt_storm,
    interrupt_before_sleep,
    needs_reset,
    capacity_grows,
    capacity_shrinks,
    scribbles,
    wrong_data,
    out_of_order,
    very_late,
    completes_in_reset,
    reset_never_ends,
    features_refused,
    bad_numbers,
    generation_unstable,
    removed,
};

// What a fault needs to be possible at all, and a state has.
constexpr unsigned a_request = 1, two_requests = 2, a_completion = 4, a_sleep = 8;

struct fault_kind {
    kind what;
    const char* name;
    unsigned needs;
};

constexpr fault_kind faults[] = {
    {index_jump, "used.idx jumps by more than the queue", 0},
    {index_backwards, "used.idx goes back", 0},
    {id_out_of_range, "id beyond the queue", 0},
    {id_of_free_slot, "id of a free slot", 0},
    {id_in_mid_chain, "id of the middle of a chain", 0},
    {duplicate, "the same id again", a_completion},
    {length_too_long, "length beyond what is writable", a_request},
    {length_too_short, "length too short", a_request},
    {status_not_written, "status never written", a_request},
    {status_unknown, "status unknown", a_request},
    {io_error, "IOERR", a_request},
    {unsupported, "UNSUPP", a_request},
    {never_completes, "never completes", a_request},
    {no_interrupt, "completes without interrupt", a_request},
    {spurious_interrupt, "spurious interrupt", 0},
    {interrupt_storm, "interrupt that stays", 0},
    {interrupt_before_sleep, "interrupt between look and sleep", a_sleep},
    {needs_reset, "NEEDS_RESET", 0},
    {capacity_grows, "capacity grows", 0},
    {capacity_shrinks, "capacity shrinks", 0},
    {scribbles, "scribbles over all that is shared", 0},
    {wrong_data, "data of another request", a_request},
    {out_of_order, "out of order", two_requests},
    {very_late, "after the time limit", a_request},
    {completes_in_reset, "completes during a reset", a_request},
    {reset_never_ends, "reset never reads 0", 0},
    {features_refused, "FEATURES_OK refused", 0},
    {bad_numbers, "numbers that make no sense", 0},
    {generation_unstable, "generation never stable", 0},
    {removed, "removed: all ones", 0},
};
static_assert(std::size(faults) == 30);

enum class state : unsigned { probing, idle, one, full, publishing, draining, resetting, cancelling };

struct state_kind {
    state what;
    const char* name;
    unsigned has;
};

constexpr state_kind states[] = {
    {state::probing, "probing", 0},
    {state::idle, "idle", a_completion | a_sleep},
    {state::one, "one in flight", a_request | a_completion | a_sleep},
    {state::full, "full, with waiters", a_request | two_requests | a_completion | a_sleep},
    {state::publishing, "between descriptor and index", a_request | two_requests | a_completion},
    {state::draining, "draining", a_request | two_requests | a_completion},
    {state::resetting, "resetting", a_request | two_requests | a_completion},
    {state::cancelling, "cancelled, timed out", a_request | two_requests | a_completion | a_sleep},
};
static_assert(std::size(states) == 8);

// nullptr: it is possible.
const char* why_impossible(const fault_kind& fault, const state_kind& when) {
    const unsigned missing = fault.needs & ~when.has;
    if ((missing & a_sleep) != 0)
        return "the driver is awake all the time";
    if ((missing & a_request) != 0)
        return "no request is with the device";
    if ((missing & a_completion) != 0)
        return "no request has ever been completed";
    if ((missing & two_requests) != 0)
        return "there is no second request";
    return nullptr;
}

// ---- kinds of devices

struct device_kind {
    std::uint32_t version;
    bool event_idx;
    bool indirect;
    poll_mode poll;
};

constexpr device_kind devices[] = {
    {2, true, true, poll_mode::off},
    {2, false, false, poll_mode::adaptive},
    {1, true, false, poll_mode::off},
    {1, false, true, poll_mode::adaptive},
};

// A number in the configuration space, or a register, that makes no sense; the field, or no_field and a fault of the model.
struct bad_number {
    unsigned field;
    std::uint64_t value;
    fault what = fault::queue_size_zero;
    error start; // what start() may fail with; none: it must not
};
constexpr unsigned no_field = ~0U;
constexpr unsigned capacity = 0, size_max = 8, seg_max = 12, blk_size = 20, physical_exponent = 24, num_queues = 34,
                   max_discard = 36, discard_alignment = 44;
constexpr bad_number bad[] = {
    {no_field, 0, fault::queue_size_zero, error::queue_missing},
    {no_field, 0, fault::queue_in_use, error::queue_in_use},
    {.field = num_queues, .value = 0, .start = error::queue_missing},
    {.field = num_queues, .value = 0xffff, .start = error::none},
    {.field = blk_size, .value = 513, .start = error::limits_unusable},
    {.field = blk_size, .value = 1, .start = error::limits_unusable},
    {.field = blk_size, .value = 0x8000'0000, .start = error::limits_unusable},
    {.field = blk_size, .value = 0xffff'ffff, .start = error::limits_unusable},
    {.field = size_max, .value = 0, .start = error::none},
    {.field = seg_max, .value = 0, .start = error::none},
    {.field = seg_max, .value = 0xffff'ffff, .start = error::none},
    {.field = physical_exponent, .value = 255, .start = error::none},
    {.field = max_discard, .value = 0xffff'ffff, .start = error::none},
    {.field = discard_alignment, .value = 0, .start = error::none},
    {.field = capacity, .value = 0, .start = error::none},
    {.field = capacity, .value = ~std::uint64_t{0}, .start = error::none},
};

struct run {
    const fault_kind& fault;
    const state_kind& when;
    const device_kind& device;
    unsigned detail; // of the fault
    unsigned moment; // at which access or fence it strikes
};

std::ostream& operator<<(std::ostream& out, const run& it) {
    return out << it.fault.what << " " << it.fault.name << ", " << it.when.name << ", version " << it.device.version
               << ", EVENT_IDX " << it.device.event_idx << ", INDIRECT_DESC " << it.device.indirect << ", detail "
               << it.detail << ", moment " << it.moment;
}

unsigned details_of(kind what) {
    switch (what) {
    case needs_reset: return 2;      // once; whenever the driver looks
    case capacity_grows: return 2;   // a bit; to 2^64 - 1
    case capacity_shrinks: return 2; // a bit; to 0
    case scribbles: return 2;        // and asks for a reset; and says nothing
    case features_refused: return 2; // once; always
    case bad_numbers: return std::size(bad);
    default: return 1;
    }
}

// Whether a device of this kind can do it at all.
bool applies(const run& it) {
    const kind what = it.fault.what;
    if (it.device.version == 1 && (what == features_refused || what == generation_unstable))
        return false; // the legacy interface has neither
    if (what == id_in_mid_chain || what == id_of_free_slot)
        return !it.device.indirect; // there are slots that are no heads
    return true;
}

constexpr ticks normal_limit = 400'000;
constexpr std::uint32_t queue_size = 16;

// ---- who waits

class party {
  public:
    explicit party(world& w) : world_{w} {}

    void start(std::uint64_t sector, std::size_t bytes, std::size_t piece, bool writes) {
        guest& each = *guests_.emplace_back(std::make_unique<guest>());
        each.sector = sector;
        each.writes = writes;
        each.memory = world_.buffer(bytes);
        if (writes)
            fill_pattern(each.memory, sector + 1);
        else
            std::memset(each.memory.data(), 0x11, bytes);
        each.before.assign(each.memory.begin(), each.memory.end());
        each.into = cut(each.memory, piece);
        each.from = cut(std::span<const std::byte>{each.memory}, piece);
        world_.spawn(attend(each));
    }
    void stop_every_second() {
        for (std::size_t i = 1; i < guests_.size(); i += 2)
            guests_[i]->source.request_stop();
    }
    bool over() const { return world_.scope.size() == 0; }
    std::size_t size() const { return guests_.size(); }

    template <typename May>
    void check(unsigned wrong_permitted, May may_end_with) {
        unsigned wrong = 0;
        for (const auto& each : guests_) {
            BOOST_TEST(each->ends == 1U);
            BOOST_TEST(may_end_with(each->outcome), each->outcome << " is not what this fault may lead to");
            if (each->outcome == status::device_lost)
                continue; // the device has not confirmed that it is through with the buffer
            BOOST_TEST(same(each->memory, each->when_ended),
                       "a buffer that was handed back was written, " << each->outcome);
            if (each->writes)
                BOOST_TEST(same(each->memory, each->before), "what was to be written has changed");
            wrong += each->outcome == status::ok && !each->right ? 1 : 0;
        }
        BOOST_TEST(wrong <= wrong_permitted, wrong << " requests ended with ok and wrong data");
    }

  private:
    struct guest {
        guest() = default; // not an aggregate: see coroutine.hpp
        std::uint64_t sector = 0;
        bool writes = false;
        std::span<std::byte> memory;
        std::vector<std::byte> before;
        std::vector<std::span<std::byte>> into;
        std::vector<std::span<const std::byte>> from;
        async::stop_source source;
        status outcome = status::ok;
        unsigned ends = 0;
        bool right = false;
        std::vector<std::byte> when_ended;
    };

    task<void> attend(guest& each) {
        if (each.writes) {
            block::request request = world_.disk().write(each.sector, each.from);
            request.set_stop_token(each.source.get_token());
            each.outcome = co_await request;
        } else {
            block::request request = world_.disk().read(each.sector, each.into);
            request.set_stop_token(each.source.get_token());
            each.outcome = co_await request;
        }
        ++each.ends;
        const std::size_t sectors = each.memory.size() / 512;
        const bool on_disk = (each.sector + sectors) * 512 <= world_.model().disk().size();
        each.right = on_disk && same(each.memory, world_.on_disk(each.sector, sectors));
        each.when_ended.assign(each.memory.begin(), each.memory.end());
    }

    world& world_;
    std::vector<std::unique_ptr<guest>> guests_;
};

// Calls once, at the given one of the fences of a kind, or when the driver is about to sleep.
class moment final : public arch::host::observer {
  public:
    explicit moment(machine& host) : host_{host} { host_.observe(*this); }
    ~moment() override { host_.stop_observing(*this); }
    void at_fence(fence_kind what, unsigned number, std::function<void()> call) {
        kind_ = what;
        left_ = number;
        call_ = std::move(call);
    }
    void at_sleep(std::function<void()> call) { sleep_call_ = std::move(call); }

  private:
    void on_fence(fence_kind what) override {
        if (call_ && what == kind_ && left_-- == 0)
            std::exchange(call_, {})();
    }
    void on_wait_for_interrupt() override {
        if (sleep_call_)
            std::exchange(sleep_call_, {})();
    }
    machine& host_;
    fence_kind kind_{};
    unsigned left_ = 0;
    std::function<void()> call_;
    std::function<void()> sleep_call_;
};

// ---- one run

setup make_setup(const run& it) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = it.device.version;
    c.queue_size_max = queue_size;
    c.capacity = 512;
    std::uint64_t features = model::usual_features(it.device.version) | bits::bit(bits::size_max);
    if (!it.device.event_idx)
        features &= ~bits::bit(bits::event_idx);
    if (!it.device.indirect)
        features &= ~bits::bit(bits::indirect_desc);
    c.features = features;
    s.machine.memory_bytes = std::size_t{1} << 19;
    s.frame_memory = std::size_t{64} << 10;
    s.machine.seed = 1 + it.moment;
    s.poll = it.device.poll;
    // A driver that waits a second of virtual time for a reset is not to do it in too many steps.
    const bool waits_a_second = it.fault.what == reset_never_ends || it.fault.what == removed ||
                                (it.fault.what == needs_reset && it.detail == 1);
    s.machine.cost_of_access = waits_a_second ? 5'000 : 100;
    s.disk.request_timeout = waits_a_second ? 20'000'000 : normal_limit;
    return s;
}

class encounter {
  public:
    explicit encounter(const run& it)
        : it_{it},
          world_{make_setup(it)},
          limit_{world_.setup_.disk.request_timeout},
          party_{world_},
          moment_{world_.host} {}

    // Whether the fault has struck.
    bool go();

  private:
    virtio_blk_model& device() { return world_.model(); }
    void strike();
    void strike_at_used_ring();
    void strike_at_completion();
    void complete_one(fault what) {
        device().inject(what);
        device().release(1);
    }
    bool may_end_with(status) const;
    bool may_fail_to_start(error) const;
    bool begin();
    void reach_state();
    void end_all();
    void check_aftermath();
    void check_lost();
    bool lost() { return world_.disk().lost(); }

    const run& it_;
    world world_;
    ticks limit_;
    party party_;
    moment moment_;
    bool struck_ = false;
};

// What the device does, now.
void encounter::strike() {
    struck_ = true;
    const auto sets_up_again = [&] { // what shows only then is asked for
        if (it_.when.what != state::probing && it_.when.what != state::resetting)
            device().raise_needs_reset();
    };
    switch (it_.fault.what) {
    case index_jump:
        device().move_used_index(0, static_cast<int>(queue_size + 1 + world_.host.random_below(1000)));
        return;
    case index_backwards: device().move_used_index(0, -1 - static_cast<int>(world_.host.random_below(1000))); return;
    case id_out_of_range:
    case id_of_free_slot:
    case id_in_mid_chain: strike_at_used_ring(); return;
    case duplicate:
        if (it_.when.what == state::idle || it_.when.what == state::draining)
            strike_at_used_ring();
        else
            complete_one(fault::used_duplicate);
        return;
    case length_too_long:
    case length_too_short:
    case status_not_written:
    case status_unknown:
    case io_error:
    case unsupported: strike_at_completion(); return;
    case never_completes: device().keep_one(); return;
    case no_interrupt: complete_one(fault::no_interrupt); return;
    case spurious_interrupt: device().raise_used_interrupt(); return;
    case interrupt_storm:
        device().inject(fault::interrupt_stuck, 0, 500);
        device().raise_used_interrupt();
        return;
    case interrupt_before_sleep:
        moment_.at_sleep([this] {
            device().release(1);
            device().raise_used_interrupt();
        });
        return;
    case needs_reset:
        device().raise_needs_reset();
        if (it_.detail == 1)
            device().behave.before_access = [this](std::uint64_t, std::uint64_t offset, bool write) {
                if (offset == model::reg::status && !write)
                    device().raise_needs_reset();
            };
        return;
    case capacity_grows: device().set_capacity(it_.detail == 0 ? 768 : ~std::uint64_t{0}); return;
    case capacity_shrinks: device().set_capacity(it_.detail == 0 ? 64 : 0); return;
    case scribbles:
        if (device().queue_enabled(0)) // before, the model would blame the driver for rings that are not zero
            for (const std::span<std::byte> each : world_.memory.shared())
                fill_pattern(each, world_.host.random());
        device().scribble_over_everything();
        if (it_.detail == 0)
            device().raise_needs_reset();
        return;
    case wrong_data: complete_one(fault::wrong_data); return;
    case out_of_order:
        device().behave.random_order = true;
        device().release();
        return;
    case very_late: return; // by not completing, until end_all() lets it
    case completes_in_reset:
        device().inject(fault::complete_during_reset);
        sets_up_again();
        return;
    case reset_never_ends:
        device().inject(fault::reset_never);
        sets_up_again();
        return;
    case features_refused:
        device().inject(fault::features_refused, 0, it_.detail == 0 ? 1 : model::forever);
        sets_up_again();
        return;
    case bad_numbers: {
        const bad_number& number = bad[it_.detail];
        if (number.field == no_field)
            device().inject(number.what, 0, model::forever);
        else
            device().set_configuration(number.field, number.value);
        sets_up_again();
        return;
    }
    case generation_unstable:
        device().inject(fault::generation_unstable, 0, model::forever);
        if (it_.when.what != state::probing)
            device().raise_config_interrupt();
        sets_up_again();
        return;
    case removed: device().remove(); return;
    }
}

void encounter::strike_at_used_ring() {
    if (!device().queue_enabled(0)) {
        struck_ = false;
        return;
    }
    const bool draining = it_.when.what == state::draining;
    std::uint32_t id = 0;
    switch (it_.fault.what) {
    case id_out_of_range: id = queue_size + static_cast<std::uint32_t>(world_.host.random() >> 33); break;
    case id_of_free_slot: id = queue_size - 1; break; // 15 descriptors make five chains of three
    case id_in_mid_chain: id = 1; break;
    default: // the one completed last; while it is looked at, the one before it
        id = device().last_used_id(0);
        if (draining)
            id = id == 0 ? (it_.device.indirect ? 1 : 3) : 0;
        break;
    }
    if (draining)
        device().rewrite_used(0, id, 1);
    else
        device().push_used(0, id, 1);
}

void encounter::strike_at_completion() {
    const bool draining = it_.when.what == state::draining;
    const std::uint32_t id = device().last_used_id(0);
    const std::uint32_t writable = device().last_used_writable(0);
    switch (it_.fault.what) {
    case length_too_long:
        draining ? device().rewrite_used(0, id, writable + 1) : complete_one(fault::length_too_long);
        return;
    case length_too_short: draining ? device().rewrite_used(0, id, 0) : complete_one(fault::length_too_short); return;
    case status_not_written:
        draining ? device().rewrite_status(0, 0xff) : complete_one(fault::status_not_written);
        return;
    case status_unknown: draining ? device().rewrite_status(0, 77) : complete_one(fault::status_unknown); return;
    case io_error: draining ? device().rewrite_status(0, 1) : complete_one(fault::io_error); return;
    default: draining ? device().rewrite_status(0, 2) : complete_one(fault::unsupported); return;
    }
}

bool encounter::may_end_with(status outcome) const {
    const kind what = it_.fault.what;
    const bool cancelling = it_.when.what == state::cancelling;
    switch (outcome) {
    case status::ok: return true;
    case status::cancelled: return cancelling;
    case status::timed_out:
        return cancelling || what == never_completes || what == very_late || (what == scribbles && it_.detail == 1);
    case status::device_reset: // or what was cut for limits that are no more
        return what <= length_too_long || what == scribbles ||
               (what == bad_numbers && (bad[it_.detail].field == size_max || bad[it_.detail].field == seg_max));
    case status::device_error: return what == status_not_written || what == status_unknown;
    case status::io_error: // beyond what the device has, whatever it claims
        return what == io_error || what == capacity_shrinks || what == capacity_grows ||
               (what == bad_numbers && bad[it_.detail].field == capacity);
    case status::unsupported: return what == unsupported;
    case status::out_of_range:
        return what == capacity_shrinks || (what == bad_numbers && bad[it_.detail].field == capacity);
    case status::device_lost:
        return what == reset_never_ends || what == removed || what == generation_unstable ||
               (what == features_refused) || (what == needs_reset && it_.detail == 1) ||
               (what == bad_numbers && bad[it_.detail].start != error::none);
    default: return false;
    }
}

bool encounter::may_fail_to_start(error outcome) const {
    switch (it_.fault.what) {
    case needs_reset: return it_.detail == 1;
    case reset_never_ends: return outcome == error::reset_timeout;
    case features_refused: return outcome == error::features_refused;
    case bad_numbers: return outcome == bad[it_.detail].start;
    case generation_unstable: return outcome == error::configuration_unstable;
    case removed: return true; // whatever all ones are taken for
    default: return false;
    }
}

// False if the disk could not be started, which is an end as well.
bool encounter::begin() {
    const bool probing = it_.when.what == state::probing;
    if (probing)
        device().behave.before_access = [this](std::uint64_t number, std::uint64_t, bool) {
            if (number == it_.moment) {
                device().behave.before_access = {};
                strike();
            }
        };
    // Before the first reset, an interrupt can only be acknowledged.
    if (probing && it_.moment <= 3 && (it_.fault.what == spurious_interrupt || it_.fault.what == interrupt_storm))
        world_.permitted.insert("INIT-01");
    const error outcome = world_.start();
    if (outcome == error::none && !world_.devices[0].disk) { // gone before anybody knew that it is a disk
        BOOST_TEST((it_.fault.what == removed));
        return false;
    }
    if (outcome == error::none)
        return true;
    BOOST_TEST((probing && struck_ && may_fail_to_start(outcome)), "start() fails: " << outcome);
    return false;
}

void encounter::reach_state() {
    const auto several = [this](unsigned from, unsigned to) {
        for (unsigned i = from; i < to; ++i)
            party_.start(i * 8, i % 4 == 3 ? 2048 : 512, 512, i % 3 == 1);
    };
    if (it_.when.what != state::probing) { // something has been completed
        auto memory = world_.buffer(512);
        BOOST_TEST(world_.read(7, memory) == status::ok);
    }
    device().behave.hold = it_.when.what != state::probing && it_.when.what != state::idle;
    switch (it_.when.what) {
    case state::probing: several(0, 4); break;
    case state::idle:
        strike();
        world_.settle();
        several(0, 4);
        break;
    case state::one:
        several(0, 1);
        world_.settle();
        strike();
        break;
    case state::full:
        several(0, 40);
        world_.settle();
        strike();
        break;
    case state::publishing:
        several(0, 2);
        world_.settle();
        moment_.at_fence(fence_kind::publish, 0, [this] { strike(); });
        several(2, 4);
        world_.settle();
        break;
    case state::draining:
        several(0, 4);
        world_.settle();
        moment_.at_fence(fence_kind::consume, it_.moment, [this] { strike(); });
        device().release(2);
        world_.settle();
        break;
    case state::resetting: {
        several(0, 6);
        world_.settle();
        device().behave.reset_reads = 3;
        auto since = std::make_shared<unsigned>(0);
        device().behave.before_access = [this, since](std::uint64_t, std::uint64_t offset, bool write) {
            if (*since == 0 && !(write && offset == model::reg::status))
                return;
            if ((*since)++ == it_.moment) {
                device().behave.before_access = {};
                strike();
            }
        };
        device().raise_needs_reset();
        world_.run_until([&] { return world_.disk().count().resets != 0; });
        break;
    }
    case state::cancelling:
        several(0, 40);
        world_.settle();
        party_.stop_every_second();
        strike();
        world_.run_until([&, end = world_.host.time() + 2 * limit_] {
            return world_.host.time() >= end || world_.disk().lost() || party_.over();
        });
        break;
    }
}

void encounter::end_all() {
    if (it_.fault.what == very_late)
        world_.run_until(
            [&, end = world_.host.time() + 3 * limit_] { return world_.host.time() >= end || party_.over(); });
    device().behave.hold = false;
    device().release();
    if (!world_.run_until([this] { return party_.over(); })) {
        BOOST_ERROR(world_.scope.size() << " of " << party_.size() << " requests do not end\n"
                                        << world_.host.describe());
        std::cout << std::flush;
        std::fflush(stdout);
        _exit(1); // their frames cannot be destroyed
    }
}

// A lost disk is lost at once, for good, and without another access.
void encounter::check_lost() {
    auto memory = world_.buffer(512);
    const std::uint64_t accesses = device().access_count();
    const ticks time = world_.host.time();
    for (unsigned i = 0; i < 3; ++i)
        BOOST_TEST(world_.read(0, memory) == status::device_lost);
    BOOST_TEST(world_.flush() == status::device_lost);
    BOOST_TEST(world_.discard(0, 8) == status::device_lost);
    BOOST_TEST(device().access_count() == accesses);
    BOOST_TEST(world_.host.time() - time < 10'000U);
}

// The device is as it should be from now on; what it has claimed, it goes on claiming.
void encounter::check_aftermath() {
    device().clear_faults();
    device().behave = {};
    world_.settle();
    if (lost())
        return check_lost();
    if (it_.fault.what == removed) { // nobody has noticed yet
        auto memory = world_.buffer(512);
        const status outcome = world_.read(0, memory);
        BOOST_TEST((outcome == status::device_lost || outcome == status::timed_out));
        BOOST_TEST(lost());
        return check_lost();
    }
    if (device().capacity() == 0) {
        auto memory = world_.buffer(512);
        const status outcome = world_.read(0, memory);
        const bool was_told = it_.when.what != state::probing; // before DRIVER_OK, nobody is
        BOOST_TEST((outcome == status::out_of_range || (outcome == status::io_error && !was_told)));
        device().set_capacity(512);
        world_.settle();
    }
    BOOST_REQUIRE(world_.disk().properties().logical_block_size == 512U);
    // All slots are there.
    const block::disk_properties& properties = world_.disk().properties();
    const std::size_t slots = std::size_t{properties.slots_per_queue} * properties.queues;
    party fill{world_};
    device().behave.hold = true;
    for (std::size_t i = 0; i < slots; ++i)
        fill.start(i % 48, 512, 512, false);
    world_.settle();
    BOOST_TEST(device().in_flight() == slots);
    device().behave.hold = false;
    device().release();
    world_.finish();
    fill.check(0, [](status outcome) { return outcome == status::ok; });
    // And every kind of request works.
    auto memory = world_.buffer(4096);
    fill_pattern(memory, 9);
    BOOST_TEST(world_.write(16, memory) == status::ok);
    const auto pieces = cut(memory, 512);
    BOOST_TEST(world_.await([&] { return world_.disk().read(16, pieces); }) == status::ok);
    BOOST_TEST(same(memory, world_.on_disk(16, 8)));
    BOOST_TEST(world_.flush() == status::ok);
    BOOST_TEST(world_.discard(32, 8) == status::ok);
}

bool encounter::go() {
    if (!begin())
        return struck_;
    reach_state();
    end_all();
    world_.settle();
    const auto check = [this](unsigned wrong) {
        party_.check(wrong, [this](status outcome) { return may_end_with(outcome); });
    };
    const unsigned wrong_permitted = it_.fault.what == wrong_data ? 1 : 0;
    check(wrong_permitted);
    check_aftermath();
    check(wrong_permitted); // still nothing was written
    return struck_;
}

// ---- one cell

unsigned long failures() {
    using namespace boost::unit_test;
    return results_collector.results(framework::current_test_case().p_id).p_assertions_failed;
}

// How many accesses to registers it takes to set such a device up.
unsigned accesses_of_start(const device_kind& device) {
    world w{make_setup({faults[spurious_interrupt - 1], states[0], device, 0, 0})};
    w.start_all();
    return static_cast<unsigned>(w.model().access_count());
}

struct tally {
    unsigned runs = 0;
    unsigned struck = 0;
};

// Stops at the first run that fails.
tally run_cell(const fault_kind& fault, const state_kind& when) {
    tally sum;
    const unsigned long before = failures();
    for (const device_kind& device : devices) {
        const unsigned accesses = accesses_of_start(device);
        const unsigned moments = when.what == state::probing     ? accesses
                                 : when.what == state::resetting ? accesses - 3 // the identification is not read again
                                 : when.what == state::draining  ? 2            // in the handler; taking them
                                                                 : 1;
        // Where there are many, two kinds of devices do, and not every number at every access.
        const bool many = moments > 2;
        if (many && device.poll != poll_mode::off)
            continue;
        const unsigned step = many && fault.what == bad_numbers ? 5 : 1;
        for (unsigned detail = 0; detail < details_of(fault.what); ++detail)
            for (unsigned at = detail % step; at < moments; at += step) {
                const run it{fault, when, device, detail, at};
                if (!applies(it))
                    continue;
                BOOST_TEST_CONTEXT(it) {
                    ++sum.runs;
                    {
                        encounter met{it};
                        sum.struck += met.go() ? 1 : 0;
                    }
                    if (failures() != before)
                        return sum;
                }
            }
    }
    BOOST_TEST(sum.struck != 0U, fault.name << ", " << when.name << ": it never happened");
    return sum;
}

enum class verdict : std::uint8_t { passed, failed, died };

// In a process of its own. What it says goes where this one's output goes.
verdict run_apart(const fault_kind& fault, const state_kind& when, tally& sum) {
    std::cout << std::flush;
    std::fflush(stdout);
    int ends[2];
    BOOST_REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
        for (const int each : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM})
            static_cast<void>(std::signal(each, SIG_DFL)); // and not back into the framework
        alarm(240);
        int code = 1;
        const unsigned long before = failures();
        try {
            const tally mine = run_cell(fault, when);
            static_cast<void>(!write(ends[1], &mine, sizeof mine));
            code = failures() == before ? 0 : 1;
        } catch (...) { // a requirement
        }
        std::cout << std::flush;
        std::fflush(stdout);
        _exit(code);
    }
    close(ends[1]);
    tally its;
    if (read(ends[0], &its, sizeof its) == sizeof its) {
        sum.runs += its.runs;
        sum.struck += its.struck;
    }
    close(ends[0]);
    int code = 0;
    BOOST_REQUIRE(waitpid(child, &code, 0) == child);
    return WIFSIGNALED(code) ? verdict::died : WEXITSTATUS(code) == 0 ? verdict::passed : verdict::failed;
}

// INFLIGHT_CELL=fault:state runs one cell only: numbers as in the table, states from 1.
bool chosen(const fault_kind& fault, unsigned number_of_state) {
    const char* const one = std::getenv("INFLIGHT_CELL");
    if (one == nullptr)
        return true;
    unsigned which = 0, when = 0;
    if (std::sscanf(one, "%u:%u", &which, &when) != 2)
        arch::panic("INFLIGHT_CELL is fault:state, two numbers");
    return (which == 0 || which == fault.what) && (when == 0 || when == number_of_state + 1);
}

} // namespace

BOOST_AUTO_TEST_SUITE(hostile)

BOOST_AUTO_TEST_CASE(the_matrix_is_whole) {
    unsigned passed = 0, impossible = 0, other = 0;
    tally sum;
    std::vector<std::string> table;
    for (const fault_kind& fault : faults) {
        for (unsigned i = 0; i < std::size(states); ++i) {
            const state_kind& when = states[i];
            if (!chosen(fault, i))
                continue;
            std::string said = "passed";
            if (const char* const reason = why_impossible(fault, when)) {
                said = std::string{"impossible: "} + reason;
                ++impossible;
            } else {
                const verdict found = run_apart(fault, when, sum);
                said = found == verdict::passed ? "passed" : found == verdict::failed ? "FAILED" : "DIED";
                (found == verdict::passed ? passed : other)++;
                BOOST_TEST((found == verdict::passed), fault.name << ", " << when.name << ": " << said);
            }
            char line[160];
            std::snprintf(line, sizeof line, "%2u %-38s %-29s %s", fault.what, fault.name, when.name, said.c_str());
            table.emplace_back(line);
        }
    }
    for (const std::string& line : table)
        std::printf("%s\n", line.c_str());
    std::printf("hostile matrix: %zu cells, %u passed, %u impossible, %u failed; %u runs, the fault struck in %u\n",
                table.size(), passed, impossible, other, sum.runs, sum.struck);
    std::fflush(stdout);
    if (std::getenv("INFLIGHT_CELL") == nullptr)
        BOOST_TEST(table.size() == 240U);
}

BOOST_AUTO_TEST_SUITE_END()
