// What the tests of drivers with one queue share: a machine with the strict model of the device, and the driver on top of it.
#pragma once

#include "drivers/virtio/mmio.hpp"
#include "tests/host/driver_fixture.hpp"
#include "tests/model/one_queue_model.hpp"

namespace inflight::test {

using model::one_queue_configuration;

enum class delivery : std::uint8_t { line, messages };

struct message_transport final : virtio::mmio_transport {
    using virtio::mmio_transport::mmio_transport;
    virtio::interrupt_delivery interrupts() const noexcept override { return virtio::interrupt_delivery::per_queue; }
    virtio::interrupt_cause acknowledge_interrupt() noexcept override { return {.bits = 0}; }
};

template <typename Driver, typename Model>
class one_queue_world {
  public:
    one_queue_world(virtio::device_id id, one_queue_configuration configuration, delivery by, std::size_t memory_bytes)
        : memory{host, memory_bytes}, device{host, configuration}, line_{configuration.base} {
        hart.set_poll_mode(poll_mode::off);
        BOOST_REQUIRE(virtio::identify_mmio(configuration.base).id == id);
        if (configuration.version == 1)
            transport = std::make_shared<virtio::legacy_mmio_transport>(configuration.base);
        else if (by == delivery::messages)
            transport = std::make_shared<message_transport>(configuration.base);
        else
            transport = std::make_shared<modern_transport>(configuration.base);
        driver = std::make_unique<Driver>(*transport);
        host.line_handler(configuration.line, [this, by] {
            if (by == delivery::line) {
                driver->handle_line();
                return;
            }
            const virtio::interrupt_cause cause = line_.acknowledge_interrupt();
            if (cause.has(virtio::interrupt_cause::used_buffer))
                driver->handle_queue();
            if (cause.has(virtio::interrupt_cause::configuration_change))
                driver->handle_configuration();
        });
    }
    ~one_queue_world() {
        for (const auto& each : host.violations())
            BOOST_TEST(permitted.contains(each.id), "time " << each.time << ": " << each.id << ": " << each.message);
        BOOST_TEST(hart.frames().count().live == 0U);
        // No frame or stack of anybody is known to the device.
        for (const std::span<std::byte> buffer : device.buffers())
            BOOST_TEST(std::any_of(memory.shared().begin(), memory.shared().end(), [&](std::span<std::byte> part) {
                return buffer.data() >= part.data() && buffer.data() + buffer.size() <= part.data() + part.size();
            }));
    }
    one_queue_world(const one_queue_world&) = delete;
    one_queue_world& operator=(const one_queue_world&) = delete;

    machine host{arch::host::machine_options{.memory_bytes = std::size_t{1} << 18}};

  private:
    struct alignas(64) granule {
        std::byte bytes[64];
    };
    std::vector<granule> frames_ = std::vector<granule>(1024);

  public:
    async::executor hart{std::as_writable_bytes(std::span{frames_})};
    bounded_memory memory;
    Model device;
    std::shared_ptr<virtio::transport> transport;
    std::unique_ptr<Driver> driver;
    std::set<std::string, std::less<>> permitted;

  private:
    modern_transport line_;
};

struct way {
    one_queue_configuration configuration;
    delivery by;
};

inline std::vector<way> all_ways() {
    std::vector<way> ways;
    for (const std::uint32_t version : {1U, 2U})
        for (const bool event_idx : {false, true})
            for (const std::uint32_t queue_size_max : {1U, 8U, 1024U}) {
                one_queue_configuration c{.version = version, .queue_size_max = queue_size_max};
                if (!event_idx)
                    c.features &= ~model::feature::bit(model::feature::event_idx);
                ways.push_back({c, delivery::line});
                if (version == 2)
                    ways.push_back({c, delivery::messages});
            }
    return ways;
}

} // namespace inflight::test
