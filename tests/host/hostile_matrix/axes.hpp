// The axes of the hostile matrix (faults of a device, states of the driver), and what varies between runs of a cell.
#pragma once

#include "tests/host/driver_fixture.hpp"

#include <ostream>

namespace inflight::test::hostile {

using virtio::error;
namespace bits = model::feature;

// The faults, by their numbers in the table.
enum kind : unsigned {
    index_jump = 1,
    index_backwards,
    id_out_of_range,
    id_of_free_slot,
    id_in_mid_chain,
    duplicate,
    length_too_long,
    length_too_short,
    status_not_written,
    status_unknown,
    io_error,
    unsupported,
    never_completes,
    no_interrupt,
    spurious_interrupt,
    interrupt_storm,
    interrupt_before_sleep,
    needs_reset,
    capacity_grows,
    capacity_shrinks,
    scribbles,
    wrong_data,
    out_of_order,
    very_late,
    completes_in_reset,
    reset_never_ends,
    features_refused,
    bad_numbers,
    generation_unstable,
    removed,
};

// What a fault needs to be possible, and what a state has.
inline constexpr unsigned a_request = 1, two_requests = 2, a_completion = 4, a_sleep = 8;

struct fault_kind {
    kind what;
    const char* name;
    unsigned needs;
};

inline constexpr fault_kind faults[] = {
    {index_jump, "used.idx jumps by more than the queue", 0},
    {index_backwards, "used.idx goes back", 0},
    {id_out_of_range, "id beyond the queue", 0},
    {id_of_free_slot, "id of a free slot", 0},
    {id_in_mid_chain, "id of the middle of a chain", 0},
    {duplicate, "the same id again", a_completion},
    {length_too_long, "length beyond what is writable", a_request},
    {length_too_short, "length too short", a_request},
    {status_not_written, "status never written", a_request},
    {status_unknown, "status unknown", a_request},
    {io_error, "IOERR", a_request},
    {unsupported, "UNSUPP", a_request},
    {never_completes, "never completes", a_request},
    {no_interrupt, "completes without interrupt", a_request},
    {spurious_interrupt, "spurious interrupt", 0},
    {interrupt_storm, "interrupt that stays", 0},
    {interrupt_before_sleep, "interrupt between look and sleep", a_sleep},
    {needs_reset, "NEEDS_RESET", 0},
    {capacity_grows, "capacity grows", 0},
    {capacity_shrinks, "capacity shrinks", 0},
    {scribbles, "scribbles over all that is shared", 0},
    {wrong_data, "data of another request", a_request},
    {out_of_order, "out of order", two_requests},
    {very_late, "after the time limit", a_request},
    {completes_in_reset, "completes during a reset", a_request},
    {reset_never_ends, "reset never reads 0", 0},
    {features_refused, "FEATURES_OK refused", 0},
    {bad_numbers, "numbers that make no sense", 0},
    {generation_unstable, "generation never stable", 0},
    {removed, "removed: all ones", 0},
};
static_assert(std::size(faults) == 30);

enum class state : unsigned { probing, idle, one, full, publishing, draining, resetting, cancelling };

struct state_kind {
    state what;
    const char* name;
    unsigned has;
};

inline constexpr state_kind states[] = {
    {state::probing, "probing", 0},
    {state::idle, "idle", a_completion | a_sleep},
    {state::one, "one in flight", a_request | a_completion | a_sleep},
    {state::full, "full, with waiters", a_request | two_requests | a_completion | a_sleep},
    {state::publishing, "between descriptor and index", a_request | two_requests | a_completion},
    {state::draining, "draining", a_request | two_requests | a_completion},
    {state::resetting, "resetting", a_request | two_requests | a_completion},
    {state::cancelling, "cancelled, timed out", a_request | two_requests | a_completion | a_sleep},
};
static_assert(std::size(states) == 8);

// Returns nullptr if the cell is possible.
inline const char* why_impossible(const fault_kind& fault, const state_kind& when) {
    const unsigned missing = fault.needs & ~when.has;
    if ((missing & a_sleep) != 0)
        return "the driver is awake all the time";
    if ((missing & a_request) != 0)
        return "no request is with the device";
    if ((missing & a_completion) != 0)
        return "no request has ever been completed";
    if ((missing & two_requests) != 0)
        return "there is no second request";
    return nullptr;
}

struct device_kind {
    std::uint32_t version;
    bool event_idx;
    bool indirect;
    poll_mode poll;
    bool packed = false;
    bool pci = false;
    std::uint16_t vectors = 0;
};

inline constexpr device_kind devices[] = {
    {2, true, true, poll_mode::off},
    {2, false, false, poll_mode::adaptive},
    {1, true, false, poll_mode::off},
    {1, false, true, poll_mode::adaptive},
    {2, true, true, poll_mode::off, true},
    {2, true, false, poll_mode::adaptive, true},
    {2, false, true, poll_mode::adaptive, true},
    {2, false, false, poll_mode::off, true},
    {2, true, true, poll_mode::off, false, true, 3}, // a vector for the queue
    {2, true, true, poll_mode::adaptive, true, true, 1},
    {1, true, false, poll_mode::adaptive, false, true, 0},
};

// Where Status is among the registers.
inline std::uint64_t status_register(const device_kind& of) {
    return !of.pci ? model::reg::status : of.version == 1 ? 18 : 20;
}

// An unusable number in the configuration space, or in a register: a field, or no_field and a fault of the model.
struct unusable_number {
    unsigned field;
    std::uint64_t value;
    fault what = fault::queue_size_zero;
    error start; // with which start() may fail; none: it must not fail
};
inline constexpr unsigned no_field = ~0U;

// Offsets in the configuration space of a block device.
namespace field {
inline constexpr unsigned capacity = 0, size_max = 8, seg_max = 12, blk_size = 20, physical_exponent = 24,
                          num_queues = 34, max_discard = 36, discard_alignment = 44;
} // namespace field

inline constexpr unusable_number unusable_numbers[] = {
    {no_field, 0, fault::queue_size_zero, error::queue_missing},
    {no_field, 0, fault::queue_in_use, error::queue_in_use},
    {.field = field::num_queues, .value = 0, .start = error::queue_missing},
    {.field = field::num_queues, .value = 0xffff, .start = error::none},
    {.field = field::blk_size, .value = 513, .start = error::limits_unusable},
    {.field = field::blk_size, .value = 1, .start = error::limits_unusable},
    {.field = field::blk_size, .value = 0x8000'0000, .start = error::limits_unusable},
    {.field = field::blk_size, .value = 0xffff'ffff, .start = error::limits_unusable},
    {.field = field::size_max, .value = 0, .start = error::none},
    {.field = field::seg_max, .value = 0, .start = error::none},
    {.field = field::seg_max, .value = 0xffff'ffff, .start = error::none},
    {.field = field::physical_exponent, .value = 255, .start = error::none},
    {.field = field::max_discard, .value = 0xffff'ffff, .start = error::none},
    {.field = field::discard_alignment, .value = 0, .start = error::none},
    {.field = field::capacity, .value = 0, .start = error::none},
    {.field = field::capacity, .value = ~std::uint64_t{0}, .start = error::none},
};

struct run {
    const fault_kind& fault;
    const state_kind& when;
    const device_kind& device;
    unsigned detail; // of the fault
    unsigned moment; // at which access or fence it strikes
};

inline std::ostream& operator<<(std::ostream& out, const run& it) {
    return out << it.fault.what << " " << it.fault.name << ", " << it.when.name << ", version " << it.device.version
               << ", RING_PACKED " << it.device.packed << ", PCI " << it.device.pci << ", vectors " << it.device.vectors
               << ", EVENT_IDX " << it.device.event_idx << ", INDIRECT_DESC " << it.device.indirect << ", detail "
               << it.detail << ", moment " << it.moment;
}

inline unsigned details_of(kind what) {
    switch (what) {
    case needs_reset: return 2;      // once; whenever the driver looks
    case capacity_grows: return 2;   // a bit; to 2^64 - 1
    case capacity_shrinks: return 2; // a bit; to 0
    case scribbles: return 2;        // and asks for a reset; and says nothing
    case features_refused: return 2; // once; always
    case bad_numbers: return std::size(unusable_numbers);
    default: return 1;
    }
}

// Whether a device of this kind can have the fault.
inline bool applies(const run& it) {
    const kind what = it.fault.what;
    if (it.device.version == 1 && (what == features_refused || what == generation_unstable))
        return false;                               // the legacy interface has neither
    const bool has_other_ids = !it.device.indirect; // than those of chains
    const bool full = it.when.what == state::full || it.when.what == state::cancelling;
    if (what == id_in_mid_chain) // there are no such ids in a packed ring: chains are numbered
        return has_other_ids && !it.device.packed;
    // One is used by then, and all other chains are in flight: no id that the driver could know as used.
    if (what == duplicate && it.when.what == state::draining && it.device.packed && !it.device.indirect)
        return false;
    if (what == id_of_free_slot)
        return has_other_ids || (it.device.packed && !full);
    return true;
}

inline constexpr std::uint32_t queue_size = 16;

} // namespace inflight::test::hostile
