#include "src/kernel/interrupt_controller.hpp"

#include "async/executor.hpp"

namespace inflight::kernel {

interrupt_controller::interrupt_controller() noexcept {
    // Not by initialisers: the image would contain the tables.
    states_.fill({.serve = [](void*) noexcept { return false; },
                  .context = nullptr,
                  .first = nullptr,
                  .claims_left = claims_per_check});
    histories_.fill(
        {.shared_claims_left = claims_per_check, .without_progress = 0, .without_cause = 0, .last_without_cause = 0});
}

bool interrupt_controller::connect(std::uint32_t source, arch::hart_index hart, interrupt_connection& to) noexcept {
    if (source == 0 || source >= max_sources || hart >= arch::harts() || !can_connect(source, hart) ||
        (to.source != 0 && to.source != source)) {
        return false;
    }
    if (to.source == 0) {
        add(source, to);
    }
    // The lists before the register that enables the source: pairs with the reads of the handler of its first
    // interrupt.
    arch::fence_doorbell();
    enable(source, hart);
    return true;
}

bool interrupt_controller::connect(std::uint32_t source, interrupt_target target, interrupt_connection& to) noexcept {
    const arch::hart_index here = arch::this_hart();
    const bool all = target == interrupt_target::all_harts;
    bool connected = connect(source, here, to);
    for (arch::hart_index hart = 0; hart < arch::harts() && (all || !connected); ++hart) {
        connected |= hart != here && connect(source, hart, to);
    }
    return connected;
}

// Appends, because a hart may be walking the list.
void interrupt_controller::add(std::uint32_t source, interrupt_connection& to) noexcept {
    to.source = source;
    to.next_at_source = nullptr;
    to.next = connections_;
    // The connection before its address: pairs with the address dependency of a hart that walks the list.
    arch::fence_publish();
    connections_ = &to;
    source_state& state = states_[source];
    if (state.first == nullptr) {
        state = {.serve = to.serve, .context = to.context, .first = &to, .claims_left = claims_per_check};
        return;
    }
    interrupt_connection* last = state.first;
    while (last->next_at_source != nullptr) {
        last = last->next_at_source;
    }
    last->next_at_source = &to;
    state.claims_left = 1;
}

// The first device had no cause, other devices share the source, or the check for progress is due.
void interrupt_controller::serve_slow_path(std::uint32_t source, bool had_cause) noexcept {
    source_state& state = states_[source];
    const bool shared = state.first != nullptr && state.first->next_at_source != nullptr;
    for (interrupt_connection* each = shared ? state.first->next_at_source : nullptr; each != nullptr;
         each = each->next_at_source) {
        had_cause |= each->serve(each->context);
    }
    std::uint32_t& claims_left = shared ? histories_[source].shared_claims_left : state.claims_left;
    if (shared) {
        state.claims_left = 1;
        claims_left -= had_cause ? 1 : 0;
    }
    if (!had_cause) {
        check_for_cause(source, claims_left);
    } else if (claims_left == 0) {
        claims_left = claims_per_check;
        check_for_progress(source);
    }
}

// Offers the interrupt to the devices at other sources. Returns true if one of them had a cause.
bool interrupt_controller::serve_strays(std::uint32_t source) noexcept {
    bool found = false;
    for (interrupt_connection* each = connections_; each != nullptr; each = each->next) {
        if (each->source == source || !each->may_stray) {
            continue;
        }
        // Counted before it is served, so that the owner never takes it for an interrupt of its own source.
        each->strayed.fetch_add(1, std::memory_order_relaxed);
        if (each->serve(each->context)) {
            each->strayed_by.store(source, std::memory_order_relaxed);
            found = true;
        } else {
            each->strayed.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    return found;
}

void interrupt_controller::check_for_cause(std::uint32_t source, std::uint32_t claims_left) noexcept {
    if (serve_strays(source)) {
        return;
    }
    source_history& history = histories_[source];
    history.without_cause = claims_left == history.last_without_cause ? history.without_cause + 1 : 1;
    history.last_without_cause = claims_left;
    if (history.without_cause == max_without_cause) {
        history.without_cause = 0; // source 0 may have to be given up on another hart, too
        give_up(source, interrupt_storm::no_cause);
    }
}

// A hart that does nothing but serve one source never starts a round of its executor.
void interrupt_controller::check_for_progress(std::uint32_t source) noexcept {
    source_history& history = histories_[source];
    const arch::hart_index hart = arch::this_hart();
    const async::executor* const here = async::executor::find(hart);
    const std::uint64_t rounds = here != nullptr ? here->count().rounds : 0;
    history.without_progress = rounds == rounds_at_check_[hart] ? history.without_progress + claims_per_check : 0;
    rounds_at_check_[hart] = rounds;
    if (history.without_progress == max_without_progress) {
        give_up(source, interrupt_storm::no_end);
    }
}

void interrupt_controller::give_up(std::uint32_t source, interrupt_storm why) noexcept {
    mask(source);
    for (interrupt_connection* each = connections_; each != nullptr; each = each->next) {
        const bool strays_here =
            each->strays.load(std::memory_order_relaxed) && each->strayed_by.load(std::memory_order_relaxed) == source;
        if ((each->source == source || strays_here) && each->was_told.exchange(1, std::memory_order_relaxed) == 0) {
            each->masked(*each, source, why);
        }
    }
}

} // namespace inflight::kernel
