#include "tests/host/hostile_matrix/encounter.hpp"

#include "tests/host/hostile_matrix/aftermath.hpp"
#include "tests/host/hostile_matrix/permitted.hpp"

#include <cstdio>
#include <iostream>
#include <memory>
#include <unistd.h>

namespace inflight::test::hostile {

namespace {

constexpr ticks normal_limit = 400'000;

} // namespace

setup make_setup(const run& it) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = it.device.version;
    c.queue_size_max = queue_size;
    if (it.device.pci)
        c.pci.emplace().vectors = s.vectors = it.device.vectors;
    if (it.device.vectors == 1) // its handler looks at the status, in the middle of whatever the driver does
        c.tolerated.insert("STAT-04");
    c.capacity = 512;
    std::uint64_t features = model::usual_features(it.device.version) | bits::bit(bits::size_max);
    if (!it.device.event_idx)
        features &= ~bits::bit(bits::event_idx);
    if (!it.device.indirect)
        features &= ~bits::bit(bits::indirect_desc);
    if (it.device.packed)
        features |= bits::bit(bits::ring_packed);
    c.features = features;
    // A register that reads all ones is a queue of the largest size.
    s.machine.memory_bytes = std::size_t{it.fault.what == removed ? 4U : 1U} << 19;
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

encounter::encounter(const run& it)
    : it_{it},
      world_{make_setup(it)},
      limit_{world_.setup_.disk.request_timeout},
      requests_{world_, request_group::stopping::possible},
      trigger_{world_.host},
      fault_{it, world_, trigger_} {}

// False if the disk could not be started, which is an end as well.
bool encounter::begin() {
    const bool probing = it_.when.what == state::probing;
    if (probing)
        device().behave.before_access = [this](std::uint64_t number, std::uint64_t, bool) {
            if (number == it_.moment) {
                device().behave.before_access = {};
                fault_.strike();
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
    BOOST_TEST((probing && fault_.has_struck() && may_fail_to_start(it_, outcome)), "start() fails: " << outcome);
    return false;
}

void encounter::reach_state() {
    const auto several = [this](unsigned from, unsigned to) {
        for (unsigned i = from; i < to; ++i)
            requests_.start(i * 8, i % 4 == 3 ? 2048 : 512, 512, i % 3 == 1);
    };
    if (it_.when.what != state::probing) { // something has been completed
        auto memory = world_.buffer(512);
        BOOST_TEST(world_.read(7, memory) == status::ok);
    }
    device().behave.hold = it_.when.what != state::probing && it_.when.what != state::idle;
    switch (it_.when.what) {
    case state::probing: several(0, 4); break;
    case state::idle:
        fault_.strike();
        world_.settle();
        several(0, 4);
        break;
    case state::one:
        several(0, 1);
        world_.settle();
        fault_.strike();
        break;
    case state::full:
        several(0, 40);
        world_.settle();
        fault_.strike();
        if (it_.device.packed) // or the device would write over it, a lap later
            world_.settle();
        break;
    case state::publishing:
        several(0, 2);
        world_.settle();
        trigger_.at_fence(fence_kind::publish, 0, [this] { fault_.strike(); });
        several(2, 4);
        world_.settle();
        break;
    case state::draining:
        several(0, 4);
        world_.settle();
        trigger_.at_fence(fence_kind::consume, it_.moment, [this] { fault_.strike(); });
        device().release(2);
        world_.settle();
        break;
    case state::resetting: {
        several(0, 6);
        world_.settle();
        device().behave.reset_reads = 3;
        auto since = std::make_shared<unsigned>(0);
        device().behave.before_access = [this, since](std::uint64_t, std::uint64_t offset, bool write) {
            if (*since == 0 && !(write && offset == status_register(it_.device)))
                return;
            if ((*since)++ == it_.moment) {
                device().behave.before_access = {};
                fault_.strike();
            }
        };
        device().raise_needs_reset();
        world_.run_until([&] { return world_.disk().count().resets != 0; });
        break;
    }
    case state::cancelling:
        several(0, 40);
        world_.settle();
        requests_.stop_every_second();
        fault_.strike();
        world_.run_until([&, end = world_.host.time() + 2 * limit_] {
            return world_.host.time() >= end || world_.disk().lost() || requests_.over();
        });
        break;
    }
}

void encounter::end_all() {
    if (it_.fault.what == very_late)
        world_.run_until(
            [&, end = world_.host.time() + 3 * limit_] { return world_.host.time() >= end || requests_.over(); });
    device().behave.hold = false;
    device().release();
    if (!world_.run_until([this] { return requests_.over(); })) {
        BOOST_ERROR(world_.scope.size() << " of " << requests_.size() << " requests do not end\n"
                                        << world_.host.describe());
        std::cout << std::flush;
        std::fflush(stdout);
        _exit(1); // their frames cannot be destroyed
    }
}

bool encounter::go() {
    if (!begin())
        return fault_.has_struck();
    reach_state();
    end_all();
    world_.settle();
    const auto check = [this](std::size_t wrong) {
        requests_.check(wrong, [this](status outcome) { return may_end_with(it_, outcome); });
    };
    const std::size_t wrong_permitted = it_.fault.what == wrong_data ? 1 : 0;
    check(wrong_permitted);
    check_aftermath(it_, world_);
    check(wrong_permitted); // still nothing was written
    return fault_.has_struck();
}

} // namespace inflight::test::hostile
