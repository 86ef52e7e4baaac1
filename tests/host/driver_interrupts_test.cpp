// A disk whose transport delivers one interrupt for each queue and one for configuration changes, as PCI does with MSI-X. They
// are the only interrupts that these disks get.

#include "tests/host/driver_fixture.hpp"

namespace {

using namespace inflight;
using namespace inflight::test;

struct message_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;

    virtio::interrupt_delivery interrupts() const noexcept override { return virtio::interrupt_delivery::per_queue; }
    virtio::interrupt_cause acknowledge_interrupt() noexcept override { return {.bits = 0}; }
};

// Makes messages of the line of the model: one for each interrupt that the device has raised for a queue.
class message_world {
  public:
    static constexpr std::uint16_t queues = 4;

    explicit message_world(bool starts = true)
        : w{one_disk([](blk_configuration& c) { c.queues = queues; })},
          disk{*(w.devices[0].disk = std::make_unique<block::disk>(transport))} {
        w.host.line_handler(w.model().configuration().line, [this] { deliver(); });
        BOOST_REQUIRE(virtio::identify_mmio(base()).outcome == virtio::error::none);
        if (starts)
            start();
    }
    void start() {
        w.devices[0].outcome = disk.start(w.memory, {});
        BOOST_REQUIRE_EQUAL(w.devices[0].outcome, virtio::error::none);
        BOOST_REQUIRE_EQUAL(disk.properties().queues, queues);
    }

    void deliver() {
        const virtio::interrupt_cause cause = line.acknowledge_interrupt();
        for (std::uint16_t queue = 0; queue < queues; ++queue) {
            const std::uint64_t raised = w.model().counters(queue).interrupts;
            if (raised != delivered[queue] && queue != withheld) {
                delivered[queue] = raised;
                ++messages;
                disk.handle_queue(queue);
            }
        }
        if (cause.has(virtio::interrupt_cause::configuration_change)) {
            ++messages;
            disk.handle_configuration();
        }
    }
    std::uintptr_t base() const { return w.devices[0].model->configuration().base; }

    // Reads everywhere at once, so that every queue gets some.
    void read_much() {
        const auto read = [this](std::uint64_t sector, std::span<std::byte> into) -> task<void> {
            const status outcome = co_await disk.read(sector, into);
            BOOST_TEST(outcome == status::ok);
            BOOST_TEST(same(into, w.on_disk(sector, 1)));
        };
        for (std::uint64_t sector = 0; sector < 128; ++sector)
            w.spawn(read(sector, w.buffer(512)));
        w.finish();
    }

    world w;
    modern_transport line{w.model().configuration().base};
    message_transport transport{w.model().configuration().base};
    block::disk& disk;
    std::uint64_t delivered[queues] = {};
    std::uint64_t messages = 0;
    int withheld = -1; // the queue whose messages are not delivered
};

BOOST_AUTO_TEST_SUITE(driver_interrupts)

BOOST_AUTO_TEST_CASE(one_interrupt_for_each_queue_suffices) {
    message_world m;
    exercise(m.w);
    m.read_much();
    for (std::uint16_t queue = 0; queue < message_world::queues; ++queue) {
        BOOST_TEST(m.disk.count(queue).requests > 0U);
        BOOST_TEST(m.disk.count(queue).interrupts > 0U);
    }
    const block::disk::counters counted = m.disk.count();
    BOOST_TEST(counted.interrupts == m.messages);
    BOOST_TEST(counted.spurious == 0U);
    BOOST_TEST(counted.lost_interrupts == 0U);
}

// What is not delivered for one queue is not made up for by the interrupts of others.
BOOST_AUTO_TEST_CASE(the_interrupt_of_a_queue_is_of_that_queue_alone) {
    message_world m;
    for (int queue = 0; queue < message_world::queues; ++queue) {
        const std::uint64_t before = m.disk.count(static_cast<std::uint16_t>(queue)).requests;
        m.disk.handle_queue(static_cast<std::uint16_t>(queue)); // nothing has completed
        BOOST_TEST(m.disk.count(static_cast<std::uint16_t>(queue)).requests == before);
    }
    m.withheld = 0;
    auto buffer = m.w.buffer(512);
    bool ended = false;
    const auto read = [&]() -> task<void> {
        const status outcome = co_await m.disk.read(7, buffer);
        BOOST_TEST(outcome == status::ok);
        ended = true;
    };
    m.w.spawn(read());
    BOOST_TEST(!m.w.run_until([&] { return ended; }));
    for (std::uint16_t queue = 1; queue < message_world::queues; ++queue)
        m.disk.handle_queue(queue);
    m.w.host.clear_stall();
    BOOST_TEST(!m.w.run_until([&] { return ended; }));
    m.withheld = -1;
    m.deliver();
    m.w.finish();
    BOOST_TEST(ended);
}

BOOST_AUTO_TEST_CASE(the_interrupt_for_configuration_changes_suffices) {
    message_world m;
    m.w.model().set_capacity(1000);
    BOOST_TEST(m.w.run_until([&] { return m.disk.properties().capacity == 1000; }));
    BOOST_TEST(m.disk.count().resets == 0U);
    m.w.model().raise_needs_reset();
    BOOST_TEST(m.w.run_until([&] { return m.disk.count().resets == 1; }));
    exercise(m.w);
    BOOST_TEST(!m.disk.lost());
    BOOST_TEST(m.disk.count().interrupts == m.messages);
}

// A queue that there is not, and one of which nothing was asked.
BOOST_AUTO_TEST_CASE(an_interrupt_for_no_reason_is_harmless) {
    message_world m;
    for (const unsigned queue : {0U, 3U, 4U, 63U, 64U, 65535U})
        m.disk.handle_queue(static_cast<std::uint16_t>(queue));
    m.disk.handle_configuration();
    BOOST_TEST(m.disk.count().spurious == 4U);
    exercise(m.w);
}

BOOST_AUTO_TEST_CASE(an_interrupt_before_the_start_is_harmless) {
    message_world m{false};
    m.w.model().clear_accesses();
    m.disk.handle_queue(0);
    m.disk.handle_queue(70);
    m.disk.handle_configuration();
    BOOST_TEST(m.w.model().accesses().empty());
    m.start();
    exercise(m.w);
    m.read_much();
}

// A change just before DRIVER_OK, of which the interrupt comes while the disk starts, is seen afterwards.
BOOST_AUTO_TEST_CASE(a_change_during_the_start_is_remembered) {
    message_world m{false};
    m.disk.handle_configuration();
    m.start();
    m.w.model().set_configuration(0, 999, false); // not announced: the remembered interrupt has to do
    BOOST_TEST(m.w.run_until([&] { return m.disk.properties().capacity == 999; }));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
