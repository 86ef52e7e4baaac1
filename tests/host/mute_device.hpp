// A transport without a model, where a test needs a device that says exactly one thing; a world with it; and what a disk reports.
#pragma once

#include "tests/host/driver_fixture.hpp"

#include <functional>
#include <utility>

namespace inflight::test {

using block::disk_event;
using virtio::error;

struct raw_descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};

struct mute_device final : virtio::transport {
    mute_device() = default;

    bool is_legacy() const noexcept override { return false; }
    virtio::feature_set supported_features() const noexcept override {
        return virtio::feature::version_1 | virtio::feature::indirect_desc | virtio::feature::event_idx;
    }
    bool reset() noexcept override {
        status_byte = 0;
        used = 0;
        return true;
    }
    std::uint8_t status() noexcept override { return status_byte; }
    void set_status(std::uint8_t bits_written) noexcept override {
        status_byte = bits_written;
        if ((bits_written & virtio::status_bit::driver_ok) != 0 && on_driver_ok)
            on_driver_ok();
    }
    virtio::feature_set offered_features() noexcept override { return features; }
    void accept_features(virtio::feature_set) noexcept override {}
    std::uint8_t read_config8(std::size_t) noexcept override { return 0; }
    std::uint16_t read_config16(std::size_t) noexcept override { return 1; }
    std::uint32_t read_config32(std::size_t offset) noexcept override {
        switch (offset) {
        case 0: return static_cast<std::uint32_t>(capacity);
        case 4: return static_cast<std::uint32_t>(capacity >> 32);
        case 8: return size_max;
        case 12: return seg_max;
        case 20: return blk_size;
        case 36: return max_discard_sectors;
        case 40: return 1;
        case 44: return discard_sector_alignment;
        default: return 0;
        }
    }
    std::uint32_t configuration_generation() noexcept override { return 0; }
    error queue_size_max(std::uint16_t, std::uint32_t& size) noexcept override {
        size = 8;
        return error::none;
    }
    void enable_queue(std::uint16_t, std::uint16_t size, const virtio::queue_addresses& at) noexcept override {
        where = at;
        queue_size = size;
    }
    void notify(std::uint16_t) noexcept override {}
    virtio::interrupt_delivery interrupts() const noexcept override { return virtio::interrupt_delivery::shared_line; }
    virtio::interrupt_cause acknowledge_interrupt() noexcept override { return {.bits = std::exchange(cause, 0)}; }

    std::uint64_t features = virtio::feature::version_1 | virtio::feature::indirect_desc;
    std::uint64_t capacity = 1 << 20;
    std::uint32_t size_max = 65536;
    std::uint32_t seg_max = 30;
    std::uint32_t blk_size = 512;
    std::uint32_t max_discard_sectors = 16;
    std::uint32_t discard_sector_alignment = 1;

    std::uint8_t status_byte = 0;
    std::uint32_t cause = 0;
    std::function<void()> on_driver_ok;
    virtio::queue_addresses where{};
    std::uint16_t queue_size = 0;
    std::uint16_t used = 0;
};

// One disk on it, and what the test does in the device's place.
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

    // The descriptors of a chain, its table looked up.
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
    // Says that it has used a chain, whose status byte it writes.
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
    // Does all that is published, honestly, until everything has ended.
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
    // From the beginning of the rings: the device has been reset.
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

// What the disk tells of.
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
