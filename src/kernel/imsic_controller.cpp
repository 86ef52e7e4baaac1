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
    return source <= wire_count_ && to->has_wires && has_free_id(hart);
}

// The identity of a message is enabled since open(), and has no source until now. If the hart has been closed just now, the
// device is polled, as without an interrupt.
void imsic_controller::enable(std::uint32_t source, arch::hart_index hart) noexcept {
    if (places_[source].id == 0) {
        reserve(source, hart);
    }
    if (assign(source) && source <= wire_count_) {
        wires_.enable(source, harts_[hart]->wired_target, places_[source].id);
    }
}

std::optional<interrupt_message> imsic_controller::allocate_message(arch::hart_index hart) noexcept {
    if (hart >= arch::harts() || harts_[hart] == nullptr || next_message_ >= max_sources) {
        return {};
    }
    if (!has_free_id(hart)) {
        return {};
    }
    const std::uint32_t source = next_message_++;
    reserve(source, hart);
    return interrupt_message{.source = source, .hart = hart, .data = places_[source].id, .address = harts_[hart]->file};
}

bool imsic_controller::has_free_id(arch::hart_index hart) const noexcept {
    const hart_part& of = *harts_[hart];
    return of.next_id <= id_count_ && !of.closed.load(std::memory_order_relaxed);
}

// After has_free_id().
void imsic_controller::reserve(std::uint32_t source, arch::hart_index hart) noexcept {
    places_[source] = {.hart = static_cast<std::uint8_t>(hart),
                       .id = static_cast<std::uint8_t>(harts_[hart]->next_id++)};
}

// Gives the reserved identity of the source its source. Returns false if the hart has been closed.
bool imsic_controller::assign(std::uint32_t source) noexcept {
    const std::uint32_t id = places_[source].id;
    hart_part& to = *harts_[places_[source].hart];
    const auto positive = static_cast<std::int32_t>(source);
    // The connection before the source that leads to it: pairs with the address dependency in handle_interrupt().
    arch::fence_publish();
    to.sources[id].store(source <= wire_count_ ? -positive : positive, std::memory_order_relaxed);
    // The source before the read of `closed`: pairs with the fence in close(). One of the two sees the other's write.
    arch::fence_full();
    if (to.closed.load(std::memory_order_relaxed)) {
        to.sources[id].store(0, std::memory_order_relaxed);
        return false;
    }
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

// Until nothing is pending, because QEMU before 9.1 may lose an interrupt: there a hart that claims changes its file
// without the lock that devices take, so a message that arrives meanwhile may be pending without interrupting the hart.
void imsic_controller::handle_interrupt(void* of) noexcept {
    const hart_part& here = *static_cast<const hart_part*>(of);
    imsic_controller& self = *here.controller;
    do {
        const std::uint64_t id = imsic::claim() >> 16 & max_ids;
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
    } while (imsic::has_pending());
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
