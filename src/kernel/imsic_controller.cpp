#include "src/kernel/imsic_controller.hpp"

#include <algorithm>
#include <new>

namespace inflight::kernel {

namespace imsic = arch::imsic;

imsic_controller::imsic_controller(const wired_controller_description& wired, const imsic_description& imsic) noexcept
    : wires_{wired.registers.base},
      wire_count_{wired.source_count},
      id_count_{std::min(imsic.id_count, max_ids)},
      next_message_{wired.source_count + 1} {}

bool imsic_controller::open(const hart_description& self) noexcept {
    if (self.interrupt_file == 0) {
        return false;
    }
    // Every hart turns the APLIC on, before any source is enabled.
    const bool has_wires = wires_.open(arch::aplic::delivery::messages, wire_count_);
    const arch::hart_index hart = arch::this_hart();
    hart_part& here =
        *::new (&hart_parts_[hart * sizeof(hart_part)]) hart_part{.controller = this,
                                                                  .file = self.interrupt_file,
                                                                  .wired_target = self.wired_target.value_or(0),
                                                                  .has_wires = has_wires && self.wired_target};
    harts_[hart] = &here;

    imsic::write(imsic::indirect::delivery, 0);
    // What is not enabled here never interrupts: identities above id_count_ are not below the threshold.
    imsic::write(imsic::indirect::threshold, id_count_ == max_ids ? max_ids + 1 : 0);
    for (std::uint32_t id = 0; id <= id_count_; id += imsic::ids_per_register) {
        imsic::write(imsic::register_of(imsic::indirect::pending, id), 0);
        // All, because no other hart could enable one later.
        imsic::write(imsic::register_of(imsic::indirect::enabled, id), ~std::uint64_t{0});
    }
    arch::set_interrupt_handler(arch::interrupt::external, {handle_interrupt, &here});
    imsic::write(imsic::indirect::delivery, 1);
    imsic::take_software_interrupts(here.file);
    return true;
}

bool imsic_controller::can_connect(std::uint32_t source, arch::hart_index hart) const noexcept {
    const hart_part* const to = harts_[hart];
    if (to == nullptr) {
        return false;
    }
    if (places_[source].id != 0) {
        return places_[source].hart == hart;
    }
    return source <= wire_count_ && to->has_wires && free_id(hart) != 0;
}

// A message is enabled since open().
void imsic_controller::enable(std::uint32_t source, arch::hart_index hart) noexcept {
    if (source > wire_count_) {
        return;
    }
    if (places_[source].id == 0 && !assign(source, hart, free_id(hart))) {
        return; // the hart has been closed just now: the device is polled, as without an interrupt
    }
    wires_.enable(source, harts_[hart]->wired_target, places_[source].id);
}

std::optional<interrupt_message> imsic_controller::allocate_message(arch::hart_index hart) noexcept {
    if (hart >= arch::harts() || harts_[hart] == nullptr || next_message_ >= max_sources) {
        return {};
    }
    const std::uint32_t id = free_id(hart);
    if (id == 0 || !assign(next_message_, hart, id)) {
        return {};
    }
    return interrupt_message{.source = next_message_++, .hart = hart, .data = id, .address = harts_[hart]->file};
}

// 0: none.
std::uint32_t imsic_controller::free_id(arch::hart_index hart) const noexcept {
    const hart_part& of = *harts_[hart];
    for (std::uint32_t id = software_id + 1; id <= id_count_; ++id) {
        if (of.sources[id].load(std::memory_order_relaxed) == 0) {
            return of.closed.load(std::memory_order_relaxed) ? 0 : id;
        }
    }
    return 0;
}

// Returns false if the hart has been closed.
bool imsic_controller::assign(std::uint32_t source, arch::hart_index hart, std::uint32_t id) noexcept {
    hart_part& to = *harts_[hart];
    const auto positive = static_cast<std::int32_t>(source);
    to.sources[id].store(source <= wire_count_ ? -positive : positive, std::memory_order_relaxed);
    // The source before the read of `closed`: pairs with the fence in close(). One of the two sees the other's write.
    arch::fence_full();
    if (to.closed.load(std::memory_order_relaxed)) {
        to.sources[id].store(0, std::memory_order_relaxed);
        return false;
    }
    places_[source] = {.hart = static_cast<std::uint8_t>(hart), .id = static_cast<std::uint8_t>(id)};
    return true;
}

// A wire is masked by any hart. A message is masked by the hart that it is sent to, which has just claimed it; source 0
// is all messages that have none.
void imsic_controller::mask(std::uint32_t source) noexcept {
    if (source == 0) {
        close();
    } else if (source <= wire_count_) {
        wires_.mask(source);
    } else {
        const std::uint32_t id = places_[source].id;
        imsic::clear_bits(imsic::register_of(imsic::indirect::enabled, id),
                          std::uint64_t{1} << id % imsic::ids_per_register);
    }
}

// Leaves only those identities of the calling hart enabled that have a source.
void imsic_controller::close() noexcept {
    hart_part& here = *harts_[arch::this_hart()];
    here.closed.store(true, std::memory_order_relaxed);
    // `closed` before the reads of the sources: pairs with the fence in assign().
    arch::fence_full();
    for (std::uint32_t first = 0; first <= id_count_; first += imsic::ids_per_register) {
        std::uint64_t without_source = 0;
        for (std::uint32_t id = std::max(first, software_id + 1); id < first + imsic::ids_per_register && id <= max_ids;
             ++id) {
            const bool has_source = here.sources[id].load(std::memory_order_relaxed) != 0;
            without_source |= has_source ? 0 : std::uint64_t{1} << (id - first);
        }
        imsic::clear_bits(imsic::register_of(imsic::indirect::enabled, first), without_source);
    }
}

// One message an interrupt: if there are more, the hart is interrupted again, which costs less than a look in vain each
// time.
void imsic_controller::handle_interrupt(void* of) noexcept {
    const hart_part& here = *static_cast<const hart_part*>(of);
    const std::uint64_t id = imsic::claim() >> 16 & max_ids;
    imsic_controller& self = *here.controller;
    const std::int32_t source = here.sources[id].load(std::memory_order_relaxed);
    if (source > 0) [[likely]] {
        self.serve(static_cast<std::uint32_t>(source));
    } else if (source < 0) {
        const auto wire = static_cast<std::uint32_t>(-source);
        self.serve(wire);
        self.wires_.end_of_service(wire);
    } else {
        self.handle_without_source(static_cast<std::uint32_t>(id));
    }
}

void imsic_controller::handle_without_source(std::uint32_t id) noexcept {
    if (id == software_id) {
        imsic::handle_software_interrupt();
    } else if (id == 0) {
        count_spurious();
    } else {
        serve(0); // a device with a wrong message, which may be for any source
    }
}

} // namespace inflight::kernel
