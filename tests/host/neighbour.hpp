// A second hart beside a world, so that tests decide which of the two goes on.
#pragma once

#include "async/counting_scope.hpp"
#include "tests/host/readers.hpp"

namespace inflight::test {

// A second hart beside a world, for which there is no queue.
struct neighbour {
    explicit neighbour(world& w) : world_{w}, frames(std::size_t{1} << 12), runtime{made_on(w.host)} {
        runtime.set_poll_mode(poll_mode::off);
        w.host.select_hart(0);
        w.start_all();
        rounds();
    }
    ~neighbour() {
        world_.host.select_hart(1);
        BOOST_TEST(scope.size() == 0U);
        BOOST_TEST(runtime.frames().count().live == 0U);
        world_.host.select_hart(0);
    }
    neighbour(const neighbour&) = delete;
    neighbour& operator=(const neighbour&) = delete;

    void spawn(task<void> work) { BOOST_REQUIRE(scope.spawn(std::move(work))); }

    // What a hart does within its next `count` rounds; then it is the neighbour's turn again.
    void on(arch::hart_index hart, unsigned count) {
        world_.host.select_hart(hart);
        for (unsigned i = 0; i < count; ++i) {
            world_.host.run_until(world_.host.time() + 100);
            static_cast<void>(async::executor::current().tick());
        }
        world_.host.select_hart(1);
    }
    // So many reads from here, none of which the device ends before release().
    void hold(readers& all, std::size_t count) {
        world_.model().behave.hold = true;
        for (std::size_t i = 0; i < count; ++i)
            spawn(all.read(all.add(1000 + i)));
        rounds();
    }
    void release() {
        world_.model().behave.hold = false;
        world_.model().release();
        rounds(200);
    }
    // Both, in turns.
    void rounds(unsigned count = 40) {
        for (unsigned i = 0; i < count; ++i) {
            on(0, 1);
            on(1, 1);
        }
    }

  private:
    struct alignas(64) granule {
        std::byte bytes[64];
    };
    std::span<std::byte> made_on(machine& host) {
        host.select_hart(1);
        return std::as_writable_bytes(std::span{frames});
    }
    world& world_;
    std::vector<granule> frames;

  public:
    async::executor runtime;
    async::counting_scope scope;
};

inline setup setup_of_two_harts() {
    setup s = setup_of(plain);
    s.machine.harts = 2;
    return s;
}

} // namespace inflight::test
