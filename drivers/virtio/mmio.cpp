#include "inflight/drivers/virtio/mmio.hpp"

#include "inflight/arch/arch.hpp"
#include "inflight/arch/time_limit.hpp"
#include "inflight/drivers/virtio/split_ring.hpp"

namespace inflight::virtio {

namespace {

// Offsets of registers (VIRTIO 1.2, 4.2.2 and 4.2.4), aligned 32-bit accesses only.
constexpr std::uintptr_t magic_value = 0x000;
constexpr std::uintptr_t version = 0x004;
constexpr std::uintptr_t device_id_register = 0x008;
constexpr std::uintptr_t vendor_id = 0x00c;
constexpr std::uintptr_t device_features = 0x010;
constexpr std::uintptr_t device_features_sel = 0x014;
constexpr std::uintptr_t driver_features = 0x020;
constexpr std::uintptr_t driver_features_sel = 0x024;
constexpr std::uintptr_t guest_page_size = 0x028; // version 1
constexpr std::uintptr_t queue_sel = 0x030;
constexpr std::uintptr_t queue_num_max = 0x034;
constexpr std::uintptr_t queue_num = 0x038;
constexpr std::uintptr_t queue_align = 0x03c; // version 1
constexpr std::uintptr_t queue_pfn = 0x040;   // version 1
constexpr std::uintptr_t queue_ready = 0x044;
constexpr std::uintptr_t queue_notify = 0x050;
constexpr std::uintptr_t interrupt_status = 0x060;
constexpr std::uintptr_t interrupt_ack = 0x064;
constexpr std::uintptr_t device_status = 0x070;
constexpr std::uintptr_t queue_desc_low = 0x080;
constexpr std::uintptr_t queue_driver_low = 0x090;
constexpr std::uintptr_t queue_device_low = 0x0a0;
constexpr std::uintptr_t queue_reset = 0x0c0;
constexpr std::uintptr_t config_generation = 0x0fc;
constexpr std::uintptr_t config = 0x100;

constexpr std::uint32_t magic = 0x74726976; // "virt"

std::uint32_t low(std::uint64_t value) noexcept {
    return static_cast<std::uint32_t>(value);
}

std::uint32_t high(std::uint64_t value) noexcept {
    return static_cast<std::uint32_t>(value >> 32);
}

} // namespace

mmio_identity identify_mmio(std::uintptr_t registers) noexcept {
    mmio_identity slot{.outcome = error::none, .version = 0, .id = device_id::none, .vendor = 0};
    if (arch::mmio_read32(registers + magic_value) != magic) {
        slot.outcome = error::not_virtio;
        return slot;
    }
    slot.version = arch::mmio_read32(registers + version);
    if (slot.version != 1 && slot.version != 2) {
        slot.outcome = error::unknown_version;
        return slot;
    }
    slot.id = device_id{arch::mmio_read32(registers + device_id_register)};
    if (slot.id == device_id::none) {
        slot.outcome = error::no_device;
        return slot;
    }
    slot.vendor = arch::mmio_read32(registers + vendor_id);
    return slot;
}

// ACCESS_PLATFORM: the device's addresses are those of dma_memory, so accepting it promises nothing that is not kept.
// ORDER_PLATFORM: the fences of arch.hpp order for devices, always (docs/memory-order.md). RING_RESET: whether a
// queue was reset is looked at, because QEMU offers it over MMIO and does not do it. Not accepted: NOTIF_CONFIG_DATA, for
// which MMIO has no register.
feature_set mmio_transport::supported_features() const noexcept {
    return feature::version_1 | feature::indirect_desc | feature::event_idx | feature::access_platform |
           feature::ring_packed | feature::order_platform | feature::notification_data | feature::ring_reset;
}

bool mmio_transport::reset() noexcept {
    arch::mmio_write32(registers_ + device_status, 0);
    arch::time_limit patience{arch::ticks_per_second()};
    for (std::uint32_t status; (status = arch::mmio_read32(registers_ + device_status)) != 0;) {
        if (patience.is_over()) {
            return false;
        }
        if (status == status_bit::device_needs_reset) { // the reset has ended, and the device asks for another
            arch::mmio_write32(registers_ + device_status, 0);
        }
    }
    return true;
}

std::uint8_t mmio_transport::status() noexcept {
    return static_cast<std::uint8_t>(arch::mmio_read32(registers_ + device_status));
}

void mmio_transport::set_status(std::uint8_t bits) noexcept {
    arch::mmio_write32(registers_ + device_status, bits);
}

feature_set mmio_transport::offered_features() noexcept {
    arch::mmio_write32(registers_ + device_features_sel, 0);
    const std::uint64_t low_word = arch::mmio_read32(registers_ + device_features);
    arch::mmio_write32(registers_ + device_features_sel, 1);
    const std::uint64_t high_word = arch::mmio_read32(registers_ + device_features);
    return low_word | high_word << 32;
}

void mmio_transport::accept_features(feature_set accepted) noexcept {
    notifies_with_data_ = (accepted & feature::notification_data) != 0;
    arch::mmio_write32(registers_ + driver_features_sel, 0);
    arch::mmio_write32(registers_ + driver_features, low(accepted));
    arch::mmio_write32(registers_ + driver_features_sel, 1);
    arch::mmio_write32(registers_ + driver_features, high(accepted));
}

std::uint8_t mmio_transport::read_config8(std::size_t offset) noexcept {
    return arch::mmio_read8(registers_ + config + offset);
}

void mmio_transport::write_config8(std::size_t offset, std::uint8_t value) noexcept {
    arch::mmio_write8(registers_ + config + offset, value);
}

std::uint16_t mmio_transport::read_config16(std::size_t offset) noexcept {
    return arch::mmio_read16(registers_ + config + offset);
}

std::uint32_t mmio_transport::read_config32(std::size_t offset) noexcept {
    return arch::mmio_read32(registers_ + config + offset);
}

std::uint32_t mmio_transport::configuration_generation() noexcept {
    return arch::mmio_read32(registers_ + config_generation);
}

error mmio_transport::queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept {
    arch::mmio_write32(registers_ + queue_sel, index);
    if (arch::mmio_read32(registers_ + queue_ready) != 0) {
        return error::queue_in_use;
    }
    size = arch::mmio_read32(registers_ + queue_num_max);
    return error::none;
}

error mmio_transport::enable_queue(std::uint16_t index, std::uint16_t size, const queue_addresses& where) noexcept {
    arch::mmio_write32(registers_ + queue_sel, index);
    arch::mmio_write32(registers_ + queue_num, size);
    arch::mmio_write32(registers_ + queue_desc_low, low(where.descriptors));
    arch::mmio_write32(registers_ + queue_desc_low + 4, high(where.descriptors));
    arch::mmio_write32(registers_ + queue_driver_low, low(where.driver_area));
    arch::mmio_write32(registers_ + queue_driver_low + 4, high(where.driver_area));
    arch::mmio_write32(registers_ + queue_device_low, low(where.device_area));
    arch::mmio_write32(registers_ + queue_device_low + 4, high(where.device_area));
    // The zeroed rings before the write that enables the queue: pairs with the device's first read of the rings.
    arch::fence_doorbell();
    arch::mmio_write32(registers_ + queue_ready, 1);
    return error::none;
}

bool mmio_transport::reset_queue(std::uint16_t index) noexcept {
    arch::mmio_write32(registers_ + queue_sel, index);
    arch::mmio_write32(registers_ + queue_reset, 1);
    arch::time_limit patience{arch::ticks_per_second()};
    while (arch::mmio_read32(registers_ + queue_reset) != 0) {
        if (patience.is_over()) {
            return false;
        }
    }
    return arch::mmio_read32(registers_ + queue_ready) == 0;
}

void mmio_transport::notify(std::uint16_t index, std::uint16_t next) noexcept {
    virtio::notify(registers_of_fast_path(index), [next] { return next; });
}

interrupt_cause mmio_transport::acknowledge_interrupt() noexcept {
    return virtio::acknowledge_interrupt(registers_of_fast_path(0));
}

fast_path_registers mmio_transport::registers_of_fast_path(std::uint16_t index) const noexcept {
    const std::uintptr_t notify_at = registers_ + queue_notify;
    return {.queue_notify = notifies_with_data_ ? 0 : notify_at,
            .queue_notify_16 = 0,
            .queue_notify_with_data = notifies_with_data_ ? notify_at : 0,
            .interrupt_status = registers_ + interrupt_status,
            .interrupt_ack = registers_ + interrupt_ack,
            .queue = index};
}

// ANY_LAYOUT must be accepted when offered (LEG-13), though the framing is the fixed one either way.
feature_set legacy_mmio_transport::supported_features() const noexcept {
    return feature::indirect_desc | feature::event_idx | feature::any_layout;
}

bool legacy_mmio_transport::reset() noexcept {
    if (!mmio_transport::reset()) {
        return false;
    }
    arch::mmio_write32(registers_ + guest_page_size, legacy_page_size); // before any queue is set up (MMIOL-02)
    return true;
}

feature_set legacy_mmio_transport::offered_features() noexcept {
    arch::mmio_write32(registers_ + device_features_sel, 0);
    return arch::mmio_read32(registers_ + device_features);
}

void legacy_mmio_transport::accept_features(feature_set accepted) noexcept {
    arch::mmio_write32(registers_ + driver_features_sel, 0);
    arch::mmio_write32(registers_ + driver_features, low(accepted));
}

error legacy_mmio_transport::queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept {
    arch::mmio_write32(registers_ + queue_sel, index);
    if (arch::mmio_read32(registers_ + queue_pfn) != 0) {
        return error::queue_in_use;
    }
    size = arch::mmio_read32(registers_ + queue_num_max);
    return error::none;
}

// The rings follow from the address of the first by the legacy layout (2.7.2), so only that one is told.
error legacy_mmio_transport::enable_queue(std::uint16_t index, std::uint16_t size,
                                          const queue_addresses& where) noexcept {
    arch::mmio_write32(registers_ + queue_sel, index);
    arch::mmio_write32(registers_ + queue_num, size);
    arch::mmio_write32(registers_ + queue_align, legacy_page_size);
    // The zeroed rings before the write that enables the queue: pairs with the device's first read of the rings.
    arch::fence_doorbell();
    arch::mmio_write32(registers_ + queue_pfn, static_cast<std::uint32_t>(where.descriptors / legacy_page_size));
    return error::none;
}

} // namespace inflight::virtio
