#include "inflight/drivers/block/resubmission.hpp"

#include "inflight/drivers/block/admission.hpp"
#include "inflight/drivers/block/watchdog.hpp"

namespace inflight::block {

void resubmission::take_back(queue* queues, const disk_properties& limits) noexcept {
    async::operation* in_line = line_.take_all();
    for (queue* each = queues; each != nullptr; each = each->sibling) {
        each->take_back(!recovery_.lost(), [this, &limits](operation& in_flight, std::uint32_t age) {
            take_back(in_flight, age, limits);
        });
    }
    while (in_line != nullptr) {
        operation& next = static_cast<operation&>(*in_line);
        in_line = next.next;
        line_.push_back_again(next);
    }
}

void resubmission::take_back(operation& in_flight, std::uint32_t age, const disk_properties& limits) noexcept {
    const status outcome = verdict(in_flight, age, limits);
    if (in_flight.state == operation_state::whole_in_flight) {
        in_flight.begin_pieces();
        in_flight.pieces.in_flight = 1;
    }
    if (outcome == status::device_lost) {
        in_flight.pieces.failure = outcome; // hides any other, because the device may still write to the buffer
    }
    if (outcome != status::ok) {
        if (in_flight.end_piece(outcome)) {
            executor_.make_ready(in_flight);
        }
        return;
    }
    if (--in_flight.pieces.in_flight != 0) {
        return; // its other pieces are in these queues, too
    }
    if (in_flight.pieces.failure != status::ok) {
        if (!in_flight.pieces.in_line) {
            in_flight.end();
            executor_.make_ready(in_flight);
        }
        return;
    }
    in_flight.restart();
    if (!in_flight.pieces.in_line) {
        line_.push_back(in_flight);
    }
}

status resubmission::verdict(const operation& in_flight, std::uint32_t age,
                             const disk_properties& limits) const noexcept {
    if (recovery_.lost()) {
        return status::device_lost;
    }
    const recovery::causes_t causes = recovery_.causes();
    if ((causes & recovery::cause::protocol_violation) != 0) {
        return status::device_reset;
    }
    const bool had_the_limit = (causes & recovery::cause::device_late) != 0 && age >= watchdog::periods_until_late;
    if (had_the_limit || in_flight.has(operation::is_late)) {
        return status::timed_out;
    }
    return may_be_repeated(in_flight, limits) ? status::ok : status::device_reset;
}

void resubmission::check_waiting(const disk_properties& limits) noexcept {
    async::operation* next = line_.take_all();
    while (next != nullptr) {
        operation& waiting = static_cast<operation&>(*next);
        next = waiting.next;
        if (waiting.state == operation_state::whole_in_line) {
            waiting.begin_pieces();
            waiting.pieces.in_line = true;
        }
        if (waiting.pieces.failure == status::ok) {
            waiting.pieces.failure = recovery_.lost() ? status::device_lost : check(waiting, limits);
        }
        if (waiting.pieces.failure == status::ok && !is_noop(waiting, limits)) {
            line_.push_back_again(waiting);
            continue;
        }
        wait_line::leave(waiting);
        line_.end(waiting, waiting.pieces.failure);
    }
}

} // namespace inflight::block
