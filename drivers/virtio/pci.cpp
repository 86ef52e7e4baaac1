#include "inflight/drivers/virtio/pci.hpp"

#include "inflight/arch/time_limit.hpp"
#include "inflight/drivers/virtio/split_ring.hpp"

#include <algorithm>

namespace inflight::virtio {

namespace {

// Fields of the common configuration structure (VIRTIO 1.2, 4.1.4.3), each accessed at its own width.
constexpr std::uintptr_t device_feature_select = 0;    // 32 bits
constexpr std::uintptr_t device_feature = 4;           // 32
constexpr std::uintptr_t driver_feature_select = 8;    // 32
constexpr std::uintptr_t driver_feature = 12;          // 32
constexpr std::uintptr_t config_msix_vector = 16;      // 16
constexpr std::uintptr_t device_status = 20;           // 8
constexpr std::uintptr_t config_generation = 21;       // 8
constexpr std::uintptr_t queue_select = 22;            // 16
constexpr std::uintptr_t queue_size_field = 24;        // 16
constexpr std::uintptr_t queue_msix_vector = 26;       // 16
constexpr std::uintptr_t queue_enable = 28;            // 16
constexpr std::uintptr_t queue_notify_off = 30;        // 16
constexpr std::uintptr_t queue_desc = 32;              // 64, as two of 32
constexpr std::uintptr_t queue_driver = 40;            // 64
constexpr std::uintptr_t queue_device = 48;            // 64
constexpr std::uintptr_t queue_notif_config_data = 56; // 16
constexpr std::uintptr_t queue_reset = 58;             // 16

// Registers of the legacy interface (4.1.4.10). The device-specific configuration follows them: behind the vectors, which
// exist while MSI-X is enabled.
namespace legacy {
constexpr std::uintptr_t device_features = 0;     // 32
constexpr std::uintptr_t driver_features = 4;     // 32
constexpr std::uintptr_t queue_address = 8;       // 32
constexpr std::uintptr_t queue_size = 12;         // 16
constexpr std::uintptr_t queue_select = 14;       // 16
constexpr std::uintptr_t queue_notify = 16;       // 16
constexpr std::uintptr_t device_status = 18;      // 8
constexpr std::uintptr_t isr_status = 19;         // 8
constexpr std::uintptr_t config_msix_vector = 20; // 16
constexpr std::uintptr_t queue_msix_vector = 22;  // 16
constexpr std::uint32_t config_without_vectors = 20;
constexpr std::uint32_t config_with_vectors = 24;
} // namespace legacy

void write_halves(std::uintptr_t address, std::uint64_t value) noexcept {
    arch::mmio_write32(address, static_cast<std::uint32_t>(value));
    arch::mmio_write32(address + 4, static_cast<std::uint32_t>(value >> 32));
}

// Whether the device has taken it (PCI-37).
bool write_vector(std::uintptr_t field, std::uint16_t vector) noexcept {
    arch::mmio_write16(field, vector);
    return arch::mmio_read16(field) == vector;
}

} // namespace

pci_transport::pci_transport(const pci_structures& where) noexcept
    : pci_transport{where,
                    {.status = where.common + device_status,
                     .isr = where.isr,
                     .queue_select = where.common + queue_select,
                     .configuration_vector = where.common + config_msix_vector,
                     .queue_vector = where.common + queue_msix_vector}} {}

// ---- vectors ----

bool pci_transport::try_vectors(pci_vectors vectors, std::uint16_t queues) noexcept {
    use_vectors(vectors);
    const bool accepted = vectors.count == 0 || accepts_vectors(queues);
    if (!accepted) {
        use_vectors({});
    }
    per_queue_ = accepted && (vectors.count > 2 || (vectors.count == 2 && queues == 1));
    return accepted;
}

// In the order of initialisation up to the set-up of the queues, and back.
bool pci_transport::accepts_vectors(std::uint16_t queues) noexcept {
    if (!reset()) {
        return false;
    }
    std::uint8_t status_bits = status_bit::acknowledge;
    set_status(status_bits);
    status_bits |= status_bit::driver;
    set_status(status_bits);
    accept_features(offered_features() & supported_features());
    bool accepted = true;
    if (!is_legacy()) {
        status_bits |= status_bit::features_ok;
        set_status(status_bits);
        accepted = (status() & status_bit::features_ok) != 0;
    }
    for (std::uint16_t index = 0; accepted && index < std::min(queues, max_queues); ++index) {
        std::uint32_t size = 0;
        if (queue_size_max(index, size) != error::none || size == 0) {
            break; // what is wrong with it, start() says
        }
        accepted = set_vectors(index) == error::none;
    }
    return reset() && accepted;
}

error pci_transport::set_vectors(std::uint16_t index) noexcept {
    if (vectors_.count == 0) {
        return error::none;
    }
    if (!configuration_vector_set_ && !write_vector(registers_.configuration_vector, 0)) {
        return error::vector_refused;
    }
    configuration_vector_set_ = true;
    const auto last = static_cast<std::uint16_t>(vectors_.count - 1);
    const auto wanted = static_cast<std::uint16_t>(vectors_.count > 2 ? 1 + index : last);
    return wanted <= last && write_vector(registers_.queue_vector, wanted) ? error::none : error::vector_refused;
}

// ---- initialisation ----

// As mmio_transport. Three features need a structure that has room for them, and a device that offers them has to have it
// (4.1.4.3, 4.1.4.4.1); one that has not is taken without.
feature_set pci_transport::supported_features() const noexcept {
    feature_set features = feature::version_1 | feature::indirect_desc | feature::event_idx | feature::access_platform |
                           feature::ring_packed | feature::order_platform;
    if (where_.notify % sizeof(std::uint32_t) == 0 && where_.notify_off_multiplier % sizeof(std::uint32_t) == 0) {
        features |= feature::notification_data;
    }
    if (where_.common_length >= queue_notif_config_data + sizeof(std::uint16_t)) {
        features |= feature::notif_config_data;
    }
    if (where_.common_length >= queue_reset + sizeof(std::uint16_t)) {
        features |= feature::ring_reset;
    }
    return features;
}

bool pci_transport::reset() noexcept {
    configuration_vector_set_ = false;
    set_status(0);
    arch::time_limit patience{arch::ticks_per_second()};
    for (std::uint8_t bits; (bits = status()) != 0;) {
        if (patience.is_over()) {
            return false;
        }
        if (bits == status_bit::device_needs_reset) { // the reset has ended, and the device asks for another
            set_status(0);
        }
    }
    return true;
}

std::uint8_t pci_transport::status() noexcept {
    needs_reset_told_.store(false, std::memory_order_relaxed);
    return arch::mmio_read8(registers_.status);
}

void pci_transport::set_status(std::uint8_t bits) noexcept {
    arch::mmio_write8(registers_.status, bits);
}

feature_set pci_transport::offered_features() noexcept {
    arch::mmio_write32(where_.common + device_feature_select, 0);
    const std::uint64_t low_word = arch::mmio_read32(where_.common + device_feature);
    arch::mmio_write32(where_.common + device_feature_select, 1);
    const std::uint64_t high_word = arch::mmio_read32(where_.common + device_feature);
    return low_word | high_word << 32;
}

void pci_transport::accept_features(feature_set accepted) noexcept {
    accepted_ = accepted;
    arch::mmio_write32(where_.common + driver_feature_select, 0);
    arch::mmio_write32(where_.common + driver_feature, static_cast<std::uint32_t>(accepted));
    arch::mmio_write32(where_.common + driver_feature_select, 1);
    arch::mmio_write32(where_.common + driver_feature, static_cast<std::uint32_t>(accepted >> 32));
}

// ---- configuration ----

bool pci_transport::has_config(std::size_t offset, std::size_t width) const noexcept {
    return offset < where_.device_length && width <= where_.device_length - offset;
}

std::uint8_t pci_transport::read_config8(std::size_t offset) noexcept {
    return has_config(offset, 1) ? arch::mmio_read8(where_.device + offset) : std::uint8_t{0xff};
}

std::uint16_t pci_transport::read_config16(std::size_t offset) noexcept {
    return has_config(offset, 2) ? arch::mmio_read16(where_.device + offset) : std::uint16_t{0xffff};
}

std::uint32_t pci_transport::read_config32(std::size_t offset) noexcept {
    return has_config(offset, 4) ? arch::mmio_read32(where_.device + offset) : ~std::uint32_t{0};
}

void pci_transport::write_config8(std::size_t offset, std::uint8_t value) noexcept {
    if (has_config(offset, 1)) {
        arch::mmio_write8(where_.device + offset, value);
    }
}

std::uint32_t pci_transport::configuration_generation() noexcept {
    return arch::mmio_read8(where_.common + config_generation);
}

// ---- queues ----

error pci_transport::queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept {
    if (index >= max_queues) {
        size = 0;
        return error::none;
    }
    arch::mmio_write16(registers_.queue_select, index);
    if (arch::mmio_read16(where_.common + queue_enable) != 0) {
        return error::queue_in_use;
    }
    size = arch::mmio_read16(where_.common + queue_size_field);
    return error::none;
}

error pci_transport::enable_queue(std::uint16_t index, std::uint16_t size, const queue_addresses& where) noexcept {
    arch::mmio_write16(registers_.queue_select, index);
    const std::uint64_t notify_at =
        std::uint64_t{arch::mmio_read16(where_.common + queue_notify_off)} * where_.notify_off_multiplier;
    const std::size_t width = has(feature::notification_data) ? sizeof(std::uint32_t) : sizeof(std::uint16_t);
    if (notify_at + width > where_.notify_length) {
        return error::notify_out_of_range;
    }
    notify_[index] = {
        .address = where_.notify + static_cast<std::uintptr_t>(notify_at),
        .queue = has(feature::notif_config_data) ? arch::mmio_read16(where_.common + queue_notif_config_data) : index};
    arch::mmio_write16(where_.common + queue_size_field, size);
    const error outcome = set_vectors(index);
    if (outcome != error::none) {
        return outcome;
    }
    write_halves(where_.common + queue_desc, where.descriptors);
    write_halves(where_.common + queue_driver, where.driver_area);
    write_halves(where_.common + queue_device, where.device_area);
    // The zeroed rings before the write that enables the queue: pairs with the device's first read of the rings.
    arch::fence_doorbell();
    arch::mmio_write16(where_.common + queue_enable, 1);
    return error::none;
}

// The queue has lost its vector, which enable_queue() sets again.
bool pci_transport::reset_queue(std::uint16_t index) noexcept {
    arch::mmio_write16(registers_.queue_select, index);
    arch::mmio_write16(where_.common + queue_reset, 1);
    arch::time_limit patience{arch::ticks_per_second()};
    while (arch::mmio_read16(where_.common + queue_reset) != 0) {
        if (patience.is_over()) {
            return false;
        }
    }
    return arch::mmio_read16(where_.common + queue_enable) == 0;
}

void pci_transport::notify(std::uint16_t index, std::uint16_t next) noexcept {
    virtio::notify(registers_of_fast_path(index), [next] { return next; });
}

fast_path_registers pci_transport::registers_of_fast_path(std::uint16_t index) const noexcept {
    const notification& of_queue = notify_[index];
    const bool with_data = has(feature::notification_data);
    return {.queue_notify = 0,
            .queue_notify_16 = with_data ? 0 : of_queue.address,
            .queue_notify_with_data = with_data ? of_queue.address : 0,
            .interrupt_status = 0,
            .interrupt_ack = 0,
            .queue = of_queue.queue};
}

// ---- interrupts ----

// With MSI-X disabled the read of the ISR status acknowledges (4.1.4.5), and is complete before any later access to
// memory (arch.hpp): what completes after it interrupts again. With MSI-X enabled there is nothing to acknowledge, and the
// ISR status should not be read.
interrupt_cause pci_transport::acknowledge_interrupt() noexcept {
    constexpr std::uint32_t both = interrupt_cause::used_buffer | interrupt_cause::configuration_change;
    switch (vectors_.count) {
    case 0: return {.bits = arch::mmio_read8(registers_.isr) & both};
    case 1: return {.bits = configuration_may_have_changed() ? both : interrupt_cause::used_buffer};
    case 2: return {.bits = interrupt_cause::used_buffer};
    default: return {.bits = 0};
    }
}

// For a message that may stand for anything. A device that asks for a reset need not change its configuration; once that
// was told, the next look is the driver's, so a device that interrupts at each look keeps no handler busy.
bool pci_transport::configuration_may_have_changed() noexcept {
    if (is_legacy()) {
        return true; // it has no generation
    }
    const std::uint32_t generation = configuration_generation();
    const bool changed = generation_seen_.exchange(generation, std::memory_order_relaxed) != generation;
    if (needs_reset_told_.load(std::memory_order_relaxed)) {
        return changed;
    }
    const bool needs_reset = (arch::mmio_read8(registers_.status) & status_bit::device_needs_reset) != 0;
    if (needs_reset) {
        needs_reset_told_.store(true, std::memory_order_relaxed);
    }
    return changed || needs_reset;
}

// ---- the legacy interface ----

legacy_pci_transport::legacy_pci_transport(std::uintptr_t registers, std::uint32_t length) noexcept
    : pci_transport{{.isr = registers + legacy::isr_status},
                    {.status = registers + legacy::device_status,
                     .isr = registers + legacy::isr_status,
                     .queue_select = registers + legacy::queue_select,
                     .configuration_vector = registers + legacy::config_msix_vector,
                     .queue_vector = registers + legacy::queue_msix_vector}},
      window_{registers},
      length_{length} {
    locate_configuration();
}

void legacy_pci_transport::use_vectors(pci_vectors vectors) noexcept {
    pci_transport::use_vectors(vectors);
    locate_configuration();
}

void legacy_pci_transport::locate_configuration() noexcept {
    const std::uint32_t at = vectors().count != 0 ? legacy::config_with_vectors : legacy::config_without_vectors;
    where_.device = window_ + at;
    where_.device_length = length_ > at ? length_ - at : 0;
}

// As legacy_mmio_transport.
feature_set legacy_pci_transport::supported_features() const noexcept {
    return feature::indirect_desc | feature::event_idx | feature::any_layout;
}

feature_set legacy_pci_transport::offered_features() noexcept {
    return arch::mmio_read32(window_ + legacy::device_features);
}

void legacy_pci_transport::accept_features(feature_set accepted) noexcept {
    arch::mmio_write32(window_ + legacy::driver_features, static_cast<std::uint32_t>(accepted));
}

error legacy_pci_transport::queue_size_max(std::uint16_t index, std::uint32_t& size) noexcept {
    if (index >= max_queues) {
        size = 0;
        return error::none;
    }
    arch::mmio_write16(registers_.queue_select, index);
    if (arch::mmio_read32(window_ + legacy::queue_address) != 0) {
        return error::queue_in_use;
    }
    size = arch::mmio_read16(window_ + legacy::queue_size);
    return error::none;
}

// The rings follow from the address of the first by the legacy layout (2.7.2), so only that one is told.
error legacy_pci_transport::enable_queue(std::uint16_t index, std::uint16_t, const queue_addresses& where) noexcept {
    arch::mmio_write16(registers_.queue_select, index);
    notify_[index] = {.address = window_ + legacy::queue_notify, .queue = index};
    const error outcome = set_vectors(index);
    if (outcome != error::none) {
        return outcome;
    }
    // The zeroed rings before the write that enables the queue: pairs with the device's first read of the rings.
    arch::fence_doorbell();
    arch::mmio_write32(window_ + legacy::queue_address,
                       static_cast<std::uint32_t>(where.descriptors / legacy_page_size));
    return error::none;
}

} // namespace inflight::virtio
