#include "tests/host/hostile_matrix/permitted.hpp"

namespace inflight::test::hostile {

namespace {

// Whether the device can lose its way in a packed ring without a trace that a driver would look at: it looks at no more
// used descriptors than there are requests with the device, and knows of no index that could be wrong. Then it is the time
// limit that ends what comes after.
bool may_stay_unseen(const run& it) {
    if (!it.device.packed)
        return false;
    switch (it.fault.what) {
    case index_jump:
    case index_backwards: return true;
    case id_out_of_range:
    case id_of_free_slot:
    case id_in_mid_chain: return (it.when.has & a_request) == 0 || it.when.what == state::resetting;
    case duplicate:
        return it.when.what == state::idle || it.when.what == state::one || it.when.what == state::resetting;
    default: return false;
    }
}

} // namespace

bool may_end_with(const run& it, status outcome) {
    const kind what = it.fault.what;
    const bool cancelling = it.when.what == state::cancelling;
    switch (outcome) {
    case status::ok: return true;
    case status::cancelled: return cancelling;
    case status::timed_out:
        return cancelling || what == never_completes || what == very_late || (what == scribbles && it.detail == 1) ||
               may_stay_unseen(it);
    case status::device_reset: // or what was cut for limits that are no more
        return what <= length_too_long || what == scribbles ||
               (what == bad_numbers && (unusable_numbers[it.detail].field == field::size_max ||
                                        unusable_numbers[it.detail].field == field::seg_max));
    case status::device_error: // a jump, in a packed ring, claims that requests have ended whose status is not written;
                               // and there the status is written over after the used descriptor was read
        return what == status_not_written || what == status_unknown || (what == index_jump && it.device.packed) ||
               (what == scribbles && it.device.packed && it.when.what == state::draining);
    case status::io_error: // beyond what the device has, whatever it claims
        return what == io_error || what == capacity_shrinks || what == capacity_grows ||
               (what == bad_numbers && unusable_numbers[it.detail].field == field::capacity);
    case status::unsupported: return what == unsupported;
    case status::out_of_range:
        return what == capacity_shrinks ||
               (what == bad_numbers && unusable_numbers[it.detail].field == field::capacity);
    case status::device_lost:
        return what == reset_never_ends || what == removed || what == generation_unstable ||
               (what == features_refused) || (what == needs_reset && it.detail == 1) ||
               (what == bad_numbers && unusable_numbers[it.detail].start != error::none);
    default: return false;
    }
}

bool may_fail_to_start(const run& it, error outcome) {
    switch (it.fault.what) {
    case needs_reset: return it.detail == 1;
    case reset_never_ends: return outcome == error::reset_timeout;
    case features_refused: return outcome == error::features_refused;
    case bad_numbers: return outcome == unusable_numbers[it.detail].start;
    case generation_unstable: return outcome == error::configuration_unstable;
    case removed: return true; // whatever all ones are taken for
    default: return false;
    }
}

} // namespace inflight::test::hostile
