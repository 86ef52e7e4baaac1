#include "tests/simulation/request_checks.hpp"

#include <algorithm>
#include <string>

namespace inflight::simulation {

using block::status;

void check_transfer(run_context& in, simulated_disk& on, const transfer_result& ended) {
    const deliveries& given = on.deliveries_at(ended.sector);
    const bool whole = !ended.in_pieces;
    const bool bad = on.touches_bad(ended.sector, ended.data.size() / sector_bytes);
    if (ended.outcome == status::cancelled) {
        in.expect(ended.stopped, "cancelled, and nobody has asked for it");
        in.expect(!whole || given.taken == 0 || ended.was_reset, "cancelled with the device");
    } else if (ended.outcome == status::ok) {
        // What a device has lied about does not go in again.
        const bool repeated = ended.was_reset && (on.may_reset || on.swallowed != 0) && given.taken != 0;
        in.expect(whole ? given.taken == 1 || repeated : given.taken != 0,
                  "the device was given a request " + std::to_string(given.taken) + " times");
    }
    if (ended.outcome == status::timed_out) {
        in.expect(ended.was_reset, "timed out without a reset");
    } else if (given.swallowed != 0) {
        // A reset for another reason may have given it back.
        in.expect(ended.was_reset, "the device has swallowed it, and it ends");
        in.expect(on.may_reset || on.lies || on.swallowed > 1 || ended.outcome == status::cancelled ||
                      (!whole && ended.outcome == status::io_error),
                  "the device has swallowed it, and it does not time out");
    }
    check_status(in, on, ended.sector, ended.began, ended.outcome, bad ? status::io_error : status::ok);
    if (ended.writes) {
        const bool nothing_happened = ended.outcome == status::cancelled && whole && given.taken == 0;
        if (ended.outcome == status::ok) {
            on.account.write_succeeded(ended.sector, ended.data);
        } else if (!nothing_happened) {
            on.account.write_failed(ended.sector, ended.data);
        }
    } else if (ended.outcome == status::ok) {
        in.expect(on.account.agrees(ended.sector, ended.data), "wrong data at sector " + std::to_string(ended.sector));
    } else if (ended.outcome == status::cancelled && given.taken == 0) {
        in.expect(std::all_of(ended.data.begin(), ended.data.end(), [](std::byte each) { return each == unread; }),
                  "cancelled, and something was read");
    }
}

void check_status(run_context& in, simulated_disk& on, std::uint64_t sector, ticks began, status outcome,
                  status expected) {
    totals& counted = in.counted;
    ++counted.requests;
    counted.failed_requests += outcome != status::ok ? 1 : 0;
    counted.cancelled += outcome == status::cancelled ? 1 : 0;
    counted.timed_out += outcome == status::timed_out ? 1 : 0;
    if (outcome == status::timed_out) {
        in.expect(in.host.time() - began >= on.limit, "timed out before its time");
    }
    if (outcome == status::timed_out && on.deliveries_at(sector).swallowed == 0) {
        // A device that has asked for its reset does nothing before it, and harts may be slow to reset it.
        ++on.dead;
        in.expect(on.model->fired(model::fault::needs_reset) != 0, "timed out, and the device has not swallowed it");
    }
    in.expect(outcome == expected || outcome == status::cancelled || outcome == status::timed_out ||
                  (outcome == status::device_reset && on.disk->count().protocol_violations != 0),
              std::string{"status "} + block::to_string(outcome) + " instead of " + block::to_string(expected));
}

} // namespace inflight::simulation
