#include "tests/fuzz/device/misbehaviour.hpp"

#include <algorithm>
#include <cstring>

namespace inflight::fuzz {

void misbehaviour::write_over(std::byte* at, std::uint16_t half) {
    put(at, half);
    if (!device_.own.add(at, half)) // it cannot tell any more what is whose
        for (device_queue& each : device_.queues)
            each.lose_sight();
}

void misbehaviour::scribble(std::byte* start, std::size_t bytes) {
    const auto value = in_.number<std::uint16_t>();
    for (std::size_t at = 0; at + 2 <= bytes; at += 2)
        write_over(start + at, static_cast<std::uint16_t>(value + 0x9e37 * at));
}

// A used element, or in a packed ring a used descriptor, most often where the driver looks.
void misbehaviour::use_what_was_not_done(device_queue& of) {
    if (!of.packed) {
        std::byte* const element = of.part[2] + 4 + 8 * in_.below(of.size);
        put(element,
            (in_.byte() & 3) != 0 ? std::uint32_t{in_.below(of.size)} : static_cast<std::uint32_t>(in_.interesting()));
        put(element + 4, static_cast<std::uint32_t>(in_.interesting()));
        of.give_up_used();
        return;
    }
    of.give_up_used();
    const std::uint8_t choice = in_.byte();
    const device_queue::place at = (choice & 3) != 0 ? of.used_at : of.after(of.used_at, in_.below(of.size));
    const auto id = static_cast<std::uint16_t>((choice & 12) != 0 ? in_.below(of.size) : in_.interesting());
    std::uint64_t word =
        device_queue::used_word(at, static_cast<std::uint32_t>(in_.interesting()), id, (choice & 16) != 0);
    if ((choice & 0xe0) == 0)
        word ^= std::uint64_t{in_.number<std::uint16_t>()} << 48;
    for (unsigned half = 0; half < 4; ++half)
        write_over(of.part[0] + 16 * at.slot + 8 + 2 * half, static_cast<std::uint16_t>(word >> 16 * half));
    of.give_back_named_chains();
    if ((choice & 1) != 0)
        device_.raise(model::interrupt_used);
}

// Goes on at another place of the used ring.
void misbehaviour::use_elsewhere(device_queue& of) {
    of.give_up_used();
    if (of.packed) {
        of.used_at = of.after(of.used_at, in_.below(2 * of.size));
    } else {
        of.used = static_cast<std::uint16_t>((in_.byte() & 3) != 0 ? of.used + in_.below(4) : in_.interesting());
        put(of.part[2] + 2, of.used);
    }
    device_.raise(model::interrupt_used);
}

void misbehaviour::perhaps_act() {
    if (acting_ || device_.honest() || device_.removed() || in_.empty())
        return;
    if (in_.byte() >= 0xd0)
        act();
}

void misbehaviour::act() {
    acting_ = true;
    device_queue& of = device_.queues[in_.below(max_queues)];
    switch (in_.below(16)) {
    case 0: of.look(); break;
    case 1:
        of.look();
        device_.complete(of, static_cast<std::uint16_t>(in_.below(largest_queue)));
        break;
    case 2: device_.serve(of); break;
    case 3: // data
        of.look();
        for (device_chain& each : of.chains)
            if (each.owned && each.data_count != 0) {
                const std::span<std::byte> data = each.data[in_.below(each.data_count)];
                data[in_.number<std::uint16_t>() % data.size()] = std::byte{in_.byte()};
            }
        break;
    case 4: // a status byte
        if (device_chain& each = of.chains[in_.below(largest_queue)]; each.status != nullptr)
            *each.status = std::byte{in_.byte()};
        break;
    case 5: // a used element
        if (of.live)
            use_what_was_not_done(of);
        break;
    case 6: // used.idx
        if (of.live)
            use_elsewhere(of);
        break;
    case 7: // the rest of the used ring: flags, avail_event; or the device's event suppression
        if (of.live && of.packed)
            put(of.part[2] + (in_.byte() & 2U), in_.number<std::uint16_t>());
        else if (of.live)
            put(of.part[2] + ((in_.byte() & 1) != 0 ? 0 : 4 + 8 * of.size), in_.number<std::uint16_t>());
        break;
    case 8: // a word of the descriptor table or of the available ring
        if (of.live) {
            const unsigned part = in_.below(2);
            const std::size_t words = of.bytes[part] / 4;
            if (of.packed) // a word of the ring may be one of a used descriptor
                of.give_up_used();
            scribble(of.part[part] + 4 * (in_.byte() % words), 4);
            if (of.packed)
                of.give_back_named_chains();
        }
        break;
    case 9: // a word of anything that the driver has allocated for it
        if (memory_.allocated() >= 4) {
            for (device_queue& each : device_.queues) // it may be the used ring
                if (each.live)
                    each.give_up_used();
            scribble(memory_.arena() + 4 * (in_.number<std::uint16_t>() % (memory_.allocated() / 4)), 4);
            for (device_queue& each : device_.queues)
                if (each.live)
                    each.give_back_named_chains();
        }
        break;
    case 10: // all of it
        device_.own.add_everything();
        for (device_queue& each : device_.queues)
            if (each.live) {
                each.lose_sight();
                for (device_chain& of_it : each.chains)
                    of_it.owned = false;
                for (unsigned part = 0; part < 3; ++part)
                    for (std::size_t at = 0; at < each.bytes[part]; ++at)
                        each.part[part][at] = static_cast<std::byte>(at * 37 + in_.byte());
            }
        std::memset(memory_.arena(), in_.byte(), memory_.allocated());
        break;
    case 11: { // the configuration space
        const std::uint64_t value = in_.interesting();
        const std::size_t at = in_.below(88) & ~3U;
        if ((in_.byte() & 1) != 0)
            device_.configure(at, value);
        else
            device_.configure(at, static_cast<std::uint32_t>(value));
        if ((in_.byte() & 1) != 0)
            device_.advance_generation();
        if ((in_.byte() & 1) != 0)
            device_.raise(model::interrupt_config);
        break;
    }
    case 12:
        device_.request_reset();
        if ((in_.byte() & 3) != 0)
            device_.raise(model::interrupt_config);
        break;
    case 13: device_.raise(in_.byte() & 3U); break;
    case 14: { // what a register says next
        const std::uint64_t offset = in_.byte() & 0xfcU;
        device_.claim(offset, static_cast<std::uint32_t>(in_.interesting()));
        break;
    }
    default: // the clock
        switch (in_.below(4)) {
        case 0: host_.step_clock(time_limit / 4 + in_.byte()); break;
        case 1: host_.step_clock(2 * static_cast<std::int64_t>(time_limit)); break;
        case 2: // not below 0: from there a jump over 0 would take it past a deadline without reaching it
            host_.step_clock(
                -static_cast<std::int64_t>(std::min<arch::ticks>(in_.number<std::uint32_t>() >> 4, host_.clock())));
            break;
        default: host_.step_clock(static_cast<std::int64_t>(in_.number<std::uint32_t>())); break;
        }
        break;
    }
    acting_ = false;
}

} // namespace inflight::fuzz
