#include "tests/host/hostile_matrix/device_fault.hpp"

namespace inflight::test::hostile {

void device_fault::strike() {
    struck_ = true;
    const auto sets_up_again = [&] { // what shows only then is asked for
        if (it_.when.what != state::probing && it_.when.what != state::resetting)
            device().raise_needs_reset();
    };
    switch (it_.fault.what) {
    case index_jump:
        // A packed ring has no index: it is claimed that all that is in flight was used, and more. The device leaves the
        // buffers alone from then on, as no driver could tell.
        if (it_.device.packed)
            for (std::size_t left = device().in_flight(); left != 0; --left)
                device().keep_one();
        device().move_used_index(0, static_cast<int>(queue_size + 1 + world_.host.random_below(1000)));
        return;
    case index_backwards: device().move_used_index(0, -1 - static_cast<int>(world_.host.random_below(1000))); return;
    case id_out_of_range:
    case id_of_free_slot:
    case id_in_mid_chain: strike_at_used_ring(); return;
    case duplicate:
        if (it_.when.what == state::idle || it_.when.what == state::draining)
            strike_at_used_ring();
        else
            complete_one(fault::used_duplicate);
        return;
    case length_too_long:
    case length_too_short:
    case status_not_written:
    case status_unknown:
    case io_error:
    case unsupported: strike_at_completion(); return;
    case never_completes: device().keep_one(); return;
    case no_interrupt: complete_one(fault::no_interrupt); return;
    case spurious_interrupt: device().raise_used_interrupt(); return;
    case interrupt_storm:
        device().inject(fault::interrupt_stuck, 0, 500);
        device().raise_used_interrupt();
        return;
    case interrupt_before_sleep:
        trigger_.at_sleep([this] {
            device().release(1);
            device().raise_used_interrupt();
        });
        return;
    case needs_reset:
        device().raise_needs_reset();
        if (it_.detail == 1)
            device().behave.before_access = [this](std::uint64_t, std::uint64_t offset, bool write) {
                if (offset == status_register(it_.device) && !write)
                    device().raise_needs_reset();
            };
        return;
    case capacity_grows: device().set_capacity(it_.detail == 0 ? 768 : ~std::uint64_t{0}); return;
    case capacity_shrinks: device().set_capacity(it_.detail == 0 ? 64 : 0); return;
    case scribbles:
        if (device().queue_enabled(0)) // before, the model would blame the driver for rings that are not zero
            for (const std::span<std::byte> each : world_.memory.shared())
                fill_pattern(each, world_.host.random());
        device().scribble_over_everything();
        if (it_.detail == 0)
            device().raise_needs_reset();
        return;
    case wrong_data: complete_one(fault::wrong_data); return;
    case out_of_order:
        device().behave.random_order = true;
        device().release();
        return;
    case very_late: return; // it is not completed until encounter::end_all()
    case completes_in_reset:
        device().inject(fault::complete_during_reset);
        sets_up_again();
        return;
    case reset_never_ends:
        device().inject(fault::reset_never);
        sets_up_again();
        return;
    case features_refused:
        device().inject(fault::features_refused, 0, it_.detail == 0 ? 1 : model::forever);
        sets_up_again();
        return;
    case bad_numbers: {
        const unusable_number& number = unusable_numbers[it_.detail];
        if (number.field == no_field)
            device().inject(number.what, 0, model::forever);
        else
            device().set_configuration(number.field, number.value);
        sets_up_again();
        return;
    }
    case generation_unstable:
        device().inject(fault::generation_unstable, 0, model::forever);
        if (it_.when.what != state::probing)
            device().raise_config_interrupt();
        sets_up_again();
        return;
    case removed: device().remove(); return;
    }
}

void device_fault::strike_at_used_ring() {
    if (!device().queue_enabled(0)) {
        struck_ = false;
        return;
    }
    const bool draining = it_.when.what == state::draining;
    std::uint32_t id = 0;
    switch (it_.fault.what) {
    case id_out_of_range: {
        const std::uint32_t ids = it_.device.packed ? 1U << 16 : 1U << 31; // how many a used descriptor can tell
        id = queue_size + static_cast<std::uint32_t>(world_.host.random_below(ids - queue_size));
        break;
    }
    case id_of_free_slot: // 15 descriptors make five chains of three, and a packed ring has no more of them
        id = it_.device.packed && !it_.device.indirect ? queue_size - 2 : queue_size - 1;
        break;
    case id_in_mid_chain: id = 1; break;
    default: // the one completed last; while it is looked at, the one before it
        id = device().last_used_id(0);
        if (draining)
            id = id == 0 ? (it_.device.indirect ? 1 : 3) : 0;
        break;
    }
    if (draining)
        device().rewrite_used(0, id, 1);
    else
        device().push_used(0, id, 1);
}

void device_fault::strike_at_completion() {
    const bool draining = it_.when.what == state::draining;
    const std::uint32_t id = device().last_used_id(0);
    const std::uint32_t writable = device().last_used_writable(0);
    switch (it_.fault.what) {
    case length_too_long:
        draining ? device().rewrite_used(0, id, writable + 1) : complete_one(fault::length_too_long);
        return;
    case length_too_short: draining ? device().rewrite_used(0, id, 0) : complete_one(fault::length_too_short); return;
    case status_not_written:
        draining ? device().rewrite_status(0, 0xff) : complete_one(fault::status_not_written);
        return;
    case status_unknown: draining ? device().rewrite_status(0, 77) : complete_one(fault::status_unknown); return;
    case io_error: draining ? device().rewrite_status(0, 1) : complete_one(fault::io_error); return;
    default: draining ? device().rewrite_status(0, 2) : complete_one(fault::unsupported); return;
    }
}

} // namespace inflight::test::hostile
