// A disk on a device that does nothing by itself, for tests that need a device to say exactly one thing; and the events
// that a disk reports.
#pragma once

#include "tests/host/driver_fixture.hpp"
#include "tests/host/mute_device.hpp"

namespace inflight::test {

using block::disk_event;
using virtio::error;

struct raw_descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};

// The test acts in the device's place.
class mute_world {
  public:
    explicit mute_world(poll_mode poll = poll_mode::off) { hart.set_poll_mode(poll); }

    std::byte* at(std::uint64_t address) { return host.translate(address, 1); }
    template <typename T>
    T load(std::uint64_t address) {
        T value;
        std::memcpy(&value, at(address), sizeof value);
        return value;
    }
    std::uint16_t available() { return load<std::uint16_t>(device.where.driver_area + 2); }
    std::uint16_t head(unsigned i) {
        return load<std::uint16_t>(device.where.driver_area + 4 + std::uint64_t{2} * (i % device.queue_size));
    }
    raw_descriptor descriptor(unsigned i) {
        return load<raw_descriptor>(device.where.descriptors + std::uint64_t{16} * i);
    }

    // The descriptors of a chain, read from its indirect table if it has one.
    std::vector<raw_descriptor> chain(std::uint16_t first) {
        std::vector<raw_descriptor> parts;
        raw_descriptor each = descriptor(first);
        const bool indirect = (each.flags & virtio::descriptor_flag::indirect) != 0;
        const std::uint64_t table = indirect ? each.address : device.where.descriptors;
        if (indirect)
            each = load<raw_descriptor>(table);
        parts.push_back(each);
        while ((each.flags & virtio::descriptor_flag::next) != 0) {
            each = load<raw_descriptor>(table + std::uint64_t{16} * each.next);
            parts.push_back(each);
        }
        return parts;
    }
    // Bytes of a chain that the device may write.
    std::uint32_t writable(std::uint16_t first) {
        std::uint32_t bytes = 0;
        for (const raw_descriptor& each : chain(first))
            bytes += (each.flags & virtio::descriptor_flag::write) != 0 ? each.length : 0;
        return bytes;
    }
    // Marks a chain as used, after writing its status byte.
    void use(std::uint16_t first, std::uint32_t length) {
        *at(chain(first).back().address) = std::byte{0};
        const std::uint32_t element[2] = {first, length};
        std::memcpy(at(device.where.device_area + 4 + std::uint64_t{8} * (device.used % device.queue_size)), element,
                    8);
        ++device.used;
        std::memcpy(at(device.where.device_area + 2), &device.used, 2);
    }
    void interrupt(std::uint32_t cause = virtio::interrupt_cause::used_buffer) {
        device.cause = cause;
        disk.handle_line();
    }
    void rounds(int count = 8) {
        while (count-- > 0)
            hart.tick();
    }
    void start(const block::disk_options& options = {}) {
        BOOST_REQUIRE_EQUAL(disk.start(memory, options), error::none);
    }
    // Completes all published requests correctly, until every task has ended.
    void finish() {
        for (int i = 0; scope.size() != 0 && i < 10'000; ++i) {
            while (done_ != available()) {
                const std::uint16_t first = head(done_++);
                use(first, writable(first));
            }
            interrupt();
            rounds(2);
        }
        BOOST_TEST(scope.size() == 0U);
    }
    // Restarts at the beginning of the rings, because the device was reset.
    void begin_again() { done_ = 0; }

    machine host{arch::host::machine_options{.memory_bytes = std::size_t{1} << 18}};

  private:
    struct alignas(64) granule {
        std::byte bytes[64];
    };
    std::vector<granule> frames_ = std::vector<granule>(1024);
    std::uint16_t done_ = 0;

  public:
    async::executor hart{std::as_writable_bytes(std::span{frames_})};
    bounded_memory memory{host, std::size_t{1} << 17};
    mute_device device;
    block::disk disk{device};
    async::counting_scope scope;
};

inline setup setup_of(std::uint32_t version, bool indirect, std::uint32_t ring) {
    setup s;
    blk_configuration& c = s.disks[0];
    c.version = version;
    c.queue_size_max = ring;
    std::uint64_t features = model::usual_features(version);
    if (!indirect)
        features &= ~model::feature::bit(model::feature::indirect_desc);
    c.features = features;
    s.machine.memory_bytes = std::size_t{2} << 20;
    s.frame_memory = std::size_t{1} << 20;
    return s;
}

// The events that the disk has reported.
struct events {
    std::vector<disk_event> seen;
    void attach(setup& s) {
        s.disk.report_context = this;
        s.disk.report = [](void* self, disk_event what) noexcept {
            static_cast<events*>(self)->seen.push_back(what);
        };
    }
    std::ptrdiff_t count(disk_event what) const { return std::count(seen.begin(), seen.end(), what); }
};

} // namespace inflight::test
