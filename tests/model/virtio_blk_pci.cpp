#include "tests/model/virtio_blk_pci.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>

namespace inflight::model {

namespace {

// Meanings that MMIO does not have, at offsets where it has no register.
constexpr std::uint64_t configuration_vector = 0x0d0, queue_vector = 0x0d4, num_queues = 0x0d8, notify_off = 0x0dc,
                        notify_data = 0x0e0;

constexpr std::uint32_t legacy_page = 4096;
constexpr std::uint64_t legacy_vectors = 20, legacy_header_with_vectors = 24;
constexpr std::size_t legacy_window = 128;

// A row of the table about MMIO, and the one about PCI that says the same.
constexpr std::pair<std::string_view, std::string_view> rows[] = {
    {"MMIO-01", "PCI-05"},   {"MMIO-02", "PCI-16"},   {"MMIO-03", "PCI-05"},  {"MMIO-05", "PCI-05"},
    {"MMIO-12", "SELECT"},   {"MMIO-13", "SELECT"},   {"MMIO-14", "PCI-47"},  {"MMIO-15", "PCI-20"},
    {"MMIO-21", "PCI-23"},   {"MMIO-33", "SELECT"},   {"MMIO-34", "PCI-20"},  {"MMIO-35", "PCI-47"},
    {"MMIO-36", "PCI-48"},   {"MMIO-37", "PCI-20"},   {"MMIO-38", "PCI-41"},  {"MMIO-40", "FEAT-05"},
    {"MMIOL-03", "SELECT"},  {"MMIOL-05", "PCIL-08"}, {"MMIOL-06", "PCI-47"}, {"MMIOL-08", "PCI-48"},
    {"MMIOL-10", "PCIL-08"}, {"PACK-28", "PCI-18"},   {"SPLIT-37", "PCI-19"}, {"RST-01", "PCI-21"},
};

std::string where(std::uint64_t offset, unsigned width) {
    return std::to_string(width) + " bytes at " + std::to_string(offset);
}

} // namespace

std::string_view virtio_blk_model::pci_front::rule(std::string_view id) {
    const auto* const found =
        std::find_if(std::begin(rows), std::end(rows), [id](const auto& row) { return row.first == id; });
    return found != std::end(rows) ? found->second : id;
}

virtio_blk_model::pci_front::pci_front(virtio_blk_model& device)
    : device_{device}, configuration_{*device.configuration_.pci}, queue_vectors_(device.configuration_.queues) {}

// ---- where the registers are

std::uint16_t virtio_blk_model::pci_front::notify_off(unsigned queue) const {
    return static_cast<std::uint16_t>(device_.queues_.size() - 1 -
                                      queue); // not the queue's number, which it need not be
}

std::uint16_t virtio_blk_model::pci_front::notif_data(unsigned queue) const {
    return static_cast<std::uint16_t>(0xb00f - 3 * queue); // above the number of any queue
}

std::uint32_t virtio_blk_model::pci_front::notify_length() const {
    return static_cast<std::uint32_t>((device_.queues_.size() - 1) * configuration_.notify_multiplier + 4);
}

std::size_t virtio_blk_model::pci_front::window_bytes() const {
    return legacy() ? legacy_window : pci_configuration::notify + notify_length();
}

std::span<const virtio_blk_model::pci_front::field> virtio_blk_model::pci_front::fields() const {
    static constexpr field modern_fields[] = {
        {0, 4, reg::device_features_sel, true},
        {4, 4, reg::device_features, false},
        {8, 4, reg::driver_features_sel, true},
        {12, 4, reg::driver_features, true},
        {16, 2, configuration_vector, true},
        {18, 2, num_queues, false},
        {20, 1, reg::status, true},
        {21, 1, reg::config_generation, false},
        {22, 2, reg::queue_sel, true},
        {24, 2, reg::queue_size, true},
        {26, 2, queue_vector, true},
        {28, 2, reg::queue_ready, true},
        {30, 2, model::notify_off, false},
        {32, 4, reg::queue_desc_low, true},
        {36, 4, reg::queue_desc_high, true},
        {40, 4, reg::queue_driver_low, true},
        {44, 4, reg::queue_driver_high, true},
        {48, 4, reg::queue_device_low, true},
        {52, 4, reg::queue_device_high, true},
        {56, 2, notify_data, false},
        {58, 2, reg::queue_reset, true},
        {pci_configuration::isr, 1, reg::interrupt_status, false},
    };
    static constexpr field legacy_fields[] = {
        {0, 4, reg::device_features, false}, {4, 4, reg::driver_features, true},    {8, 4, reg::queue_pfn, true},
        {12, 2, reg::queue_size, false},     {14, 2, reg::queue_sel, true},         {16, 2, reg::queue_notify, true},
        {18, 1, reg::status, true},          {19, 1, reg::interrupt_status, false}, {20, 2, configuration_vector, true},
        {22, 2, queue_vector, true},
    };
    if (!legacy())
        return modern_fields;
    return std::span{legacy_fields}.first(msix_enabled ? 10 : 8);
}

std::uint64_t virtio_blk_model::pci_front::config_start() const {
    if (!legacy())
        return pci_configuration::device;
    return msix_enabled ? legacy_header_with_vectors : legacy_vectors;
}

const virtio_blk_model::pci_front::field* virtio_blk_model::pci_front::find(std::uint64_t offset, unsigned width,
                                                                            bool write) {
    for (const field& each : fields()) {
        if (offset + width <= each.offset || offset >= each.offset + each.width)
            continue;
        if (offset != each.offset || width != each.width) {
            device_.report("PCI-05", "access to " + where(offset, width) + ", across the width of a field");
            return nullptr;
        }
        if (write && !each.writable) {
            const char* const id = each.meaning == notify_data                   ? "PCI-17"
                                   : legacy() && each.meaning == reg::queue_size ? "PCIL-08"
                                                                                 : "PCI-16";
            device_.report(id, "write of " + where(offset, width) + ", which is read-only");
            return nullptr;
        }
        return &each;
    }
    device_.report("PCI-05", "access to " + where(offset, width) + ", where no field is");
    return nullptr;
}

// ---- accesses

std::uint32_t virtio_blk_model::pci_front::read(std::uint64_t offset, unsigned width) {
    const bool in_notify = !legacy() && offset >= pci_configuration::notify;
    if (!in_notify && offset >= config_start()) {
        const std::uint64_t at = offset - config_start();
        device_.check_access(reg::config + at, false, 0);
        if (!legacy() && at + width > configuration_.device_length) {
            device_.report("PCI-05", "read of " + where(at, width) + ", beyond the configuration");
            return ~0U;
        }
        return device_.read_config(at, width);
    }
    const field* const found = find(offset, width, false);
    if (found == nullptr)
        return 0;
    device_.check_access(found->meaning, false, 0);
    return read_field(found->meaning);
}

void virtio_blk_model::pci_front::write(std::uint64_t offset, unsigned width, std::uint32_t value) {
    if (!legacy() && offset >= pci_configuration::notify) {
        device_.check_access(reg::queue_notify, true, value);
        return notify(offset - pci_configuration::notify, width, value);
    }
    if (offset >= config_start()) {
        device_.check_access(reg::config + offset - config_start(), true, value);
        return device_.write_config(offset - config_start(), width, value);
    }
    const field* const found = find(offset, width, true);
    if (found == nullptr)
        return;
    device_.check_access(found->meaning, true, value);
    write_field(found->meaning, value);
}

std::uint32_t virtio_blk_model::pci_front::read_field(std::uint64_t meaning) {
    switch (meaning) {
    case configuration_vector: return read_vector(&configuration_vector_);
    case queue_vector: return read_vector(selected_vector(false));
    case num_queues: return static_cast<std::uint32_t>(device_.queues_.size());
    case notify_data:
        return device_.selected_queue(meaning, false, 0) != nullptr && device_.accepted(feature::notif_config_data)
                   ? notif_data(device_.queue_sel_)
                   : 0;
    case model::notify_off:
        if (device_.selected_queue(meaning, false, 0) == nullptr)
            return 0;
        return device_.fires(fault::notify_out_of_range) ? 0xffff : notify_off(device_.queue_sel_);
    case reg::interrupt_status: return read_isr();
    case reg::device_features_sel: return device_.device_features_sel_;
    case reg::driver_features_sel: return device_.driver_features_sel_;
    case reg::driver_features:
        return device_.driver_features_sel_ > 1
                   ? 0
                   : static_cast<std::uint32_t>(device_.accepted_ >> 32 * device_.driver_features_sel_);
    case reg::queue_sel: return device_.queue_sel_;
    case reg::queue_size:
        return device_.read_register(reg::queue_size_max) == 0 ? 0 : device_.queues_[device_.queue_sel_].size;
    case reg::queue_notify: return 0;
    case reg::queue_desc_low:
    case reg::queue_desc_high:
    case reg::queue_driver_low:
    case reg::queue_driver_high:
    case reg::queue_device_low:
    case reg::queue_device_high: return 0; // no driver needs what it has written itself
    default: return device_.read_register(meaning);
    }
}

void virtio_blk_model::pci_front::write_field(std::uint64_t meaning, std::uint32_t value) {
    switch (meaning) {
    case configuration_vector: return write_vector(&configuration_vector_, value);
    case queue_vector: return write_vector(selected_vector(true), value);
    case reg::queue_ready: return enable_queue(value);
    case reg::queue_notify: return device_.write_queue_notify(value);
    default: return device_.write_register(meaning, value);
    }
}

std::uint32_t virtio_blk_model::pci_front::read_isr() {
    if (msix_enabled) {
        device_.report("PCI-28", "the ISR status is read while MSI-X is on");
        return 0;
    }
    if (device_.behave.complete_at_acknowledge)
        device_.complete_one_anywhere(true);
    const std::uint32_t noise =
        device_.behave.undefined_interrupt_bits ? static_cast<std::uint32_t>(device_.machine_.random()) & 0xfc : 0;
    const std::uint32_t shown = device_.interrupt_status_ | noise;
    if (!device_.fires(fault::interrupt_stuck)) {
        device_.interrupt_status_ = 0;
        device_.update_line();
    }
    return shown;
}

// ---- notifications

void virtio_blk_model::pci_front::notify(std::uint64_t offset, unsigned width, std::uint32_t value) {
    const bool with_data = device_.accepted(feature::notification_data);
    if (width != (with_data ? 4U : 2U))
        return device_.report(with_data ? "PCI-40" : "PCI-39", "a notification of " + std::to_string(width) + " bytes");
    const bool config_data = device_.accepted(feature::notif_config_data);
    const auto address_of = [this](unsigned queue) {
        return std::uint64_t{notify_off(queue)} * configuration_.notify_multiplier;
    };
    bool is_address = false;
    for (unsigned queue = 0; queue < device_.queues_.size(); ++queue)
        is_address = is_address || address_of(queue) == offset;
    if (!is_address)
        return device_.report("PCI-46", "a notification at " + std::to_string(offset) + ", the address of no queue");
    const std::optional<unsigned> queue = named(value);
    if (!queue || address_of(*queue) != offset)
        return device_.report(config_data ? (with_data ? "PCI-44" : "PCI-43") : (with_data ? "PCI-42" : "PCI-41"),
                              "a notification of " + std::to_string(value & 0xffff) + " at " + std::to_string(offset));
    device_.write_queue_notify((value & 0xffff'0000) | *queue);
}

std::optional<unsigned> virtio_blk_model::pci_front::named(std::uint32_t value) const {
    for (unsigned queue = 0; queue < device_.queues_.size(); ++queue) {
        const std::uint32_t name = device_.accepted(feature::notif_config_data) ? notif_data(queue) : queue;
        if (name == (value & 0xffff))
            return queue;
    }
    return std::nullopt;
}

std::optional<unsigned> virtio_blk_model::pci_front::notified(std::uint64_t offset, std::uint32_t value) const {
    const bool notifies = legacy() ? offset == 16 : offset >= pci_configuration::notify;
    return notifies ? named(value) : std::nullopt;
}

// ---- queues

void virtio_blk_model::pci_front::preset(virtqueue& queue) const {
    queue.size = queue.size_max;
    queue.size_written = true;
    queue.in_use_read = true; // it need not be asked for
    if (legacy()) {
        queue.align = legacy_page;
        queue.align_written = true;
    }
}

void virtio_blk_model::pci_front::enable_queue(std::uint32_t value) {
    if (value != 1)
        return device_.report("PCI-22", "queue_enable is written with " + std::to_string(value));
    if (device_.queue_sel_ < queue_vectors_.size()) {
        if (!device_.queues_[device_.queue_sel_].size_max_read)
            device_.report("PCI-47", "a queue is enabled whose size was not looked at");
        check_vector(queue_vectors_[device_.queue_sel_], "the queue's vector");
    }
    device_.write_register(reg::queue_ready, value);
}

// ---- vectors

void virtio_blk_model::pci_front::reset() {
    configuration_vector_ = {};
    std::fill(queue_vectors_.begin(), queue_vectors_.end(), vector_field{});
    if (legacy()) {
        device_.guest_page_size_ = legacy_page;
        device_.device_features_selected_ = device_.driver_features_selected_ = true; // there is nothing to select
    }
}

virtio_blk_model::pci_front::vector_field* virtio_blk_model::pci_front::selected_vector(bool write) {
    const virtqueue* const queue = device_.selected_queue(queue_vector, write, no_vector);
    if (queue == nullptr)
        return nullptr;
    if (write && (queue->ready || queue->pfn != 0))
        device_.report("PCI-20", "the queue's vector is written after the queue was enabled");
    return &queue_vectors_[device_.queue_sel_];
}

std::uint32_t virtio_blk_model::pci_front::read_vector(vector_field* of) {
    if (of == nullptr)
        return no_vector;
    of->read_back = true;
    return of->value;
}

void virtio_blk_model::pci_front::write_vector(vector_field* of, std::uint32_t value) {
    const std::uint32_t needed = device_.modern() ? status_bit::features_ok : status_bit::driver;
    if ((device_.status_ & needed) == 0)
        device_.report("INIT-10", "a vector is set before the features are settled");
    if (!msix_enabled)
        return device_.report("MSIX", "a vector is set while MSI-X is off");
    if (of == nullptr)
        return device_.report("PCI-47", "a vector of a queue that does not exist");
    of->written = static_cast<std::uint16_t>(value);
    of->value = no_vector;
    of->read_back = false;
    if (value == no_vector)
        return;
    if (value >= configuration_.vectors)
        return device_.report("PCI-36", "vector " + std::to_string(value) + " is beyond the table");
    if (value < device_.behave.vectors_accepted && !device_.fires(fault::vector_refused))
        of->value = of->written;
}

void virtio_blk_model::pci_front::check_vector(const vector_field& of, const char* whose) {
    if (!of.read_back)
        device_.report("PCI-37", std::string{whose} + " was not read back");
    else if (of.value != of.written)
        device_.report("PCI-37", std::string{whose} + " was refused, and the driver goes on");
}

void virtio_blk_model::pci_front::check_driver_ok() {
    check_vector(configuration_vector_, "the vector of the configuration");
}

bool virtio_blk_model::pci_front::interrupt(std::uint32_t interrupt_bits, const virtqueue* queue) {
    if (!msix_enabled)
        return false;
    if ((interrupt_bits & interrupt_config) != 0)
        send(configuration_vector_.value);
    if ((interrupt_bits & interrupt_used) != 0)
        send(queue_vectors_[queue != nullptr ? device_.index_of(*queue) : 0].value);
    return true;
}

void virtio_blk_model::pci_front::send(std::uint16_t vector) {
    if (vector == no_vector)
        return;
    ++device_.messages_[vector];
    if (device_.deliver_message)
        device_.deliver_message(vector);
}

} // namespace inflight::model
