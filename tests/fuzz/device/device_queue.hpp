// A virtqueue as the device sees it: the chains that the driver has made available, each checked when it is found.
#pragma once

#include "tests/fuzz/device/driver_memory.hpp"
#include "tests/fuzz/device/request_table.hpp"
#include "tests/fuzz/device/scribbles.hpp"
#include "tests/model/specification.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace inflight::fuzz {

// By head, or in a packed ring by buffer id.
struct device_chain {
    std::uint16_t head = 0;
    std::uint16_t descriptors = 0; // of the ring
    bool owned = false;            // by the device
    std::uint32_t header_bytes = 0;
    const std::byte* header_end = nullptr;
    std::byte* status = nullptr;
    std::uint32_t writable = 0;
    unsigned data_count = 0;
    std::array<std::span<std::byte>, 32> data; // the first data_count of them are in use
};

struct device_queue {
    device_queue(arch::host::machine& the_host, const driver_memory& the_memory, request_table& the_requests,
                 const scribbles& of_device)
        : host{the_host}, memory{the_memory}, requests{the_requests}, own{of_device} {}

    void enable(bool is_packed);
    void disable();
    void look();         // takes the chains that have been published since the last time
    void lose_sight();   // the device cannot tell any more what the driver says there, and does not look
    void give_up_used(); // the used ring is wrong: the device does not write to a chain that it names, now or later
    void give_back_named_chains();
    bool complete(std::uint16_t head); // false if the device does not have that chain
    void forget_chains();

    // Where the device is in a packed ring.
    struct place {
        std::uint16_t slot = 0;
        bool wrap = true;
    };
    place after(place from, unsigned descriptors) const;
    // A used descriptor, as the driver finds it at that place.
    static std::uint64_t used_word(place at, std::uint32_t length, std::uint16_t id, bool written);

    arch::host::machine& host;
    const driver_memory& memory;
    request_table& requests;
    const scribbles& own;

    std::uint32_t size = 0;
    std::uint64_t address[3]{};
    bool live = false, broken = false;
    bool made_up = false; // used elements or used.idx are not those of its work
    bool packed = false;
    std::byte* part[3]{}; // descriptors, available ring, used ring; or the ring, the driver's and the device's event
    std::size_t bytes[3]{};
    std::uint16_t seen = 0, used = 0; // of a split ring
    place seen_at, used_at;           // of a packed ring
    unsigned held = 0;                // descriptors of a packed ring, between the two
    std::array<device_chain, largest_queue> chains;

  private:
    void look_split();
    void look_packed();
    bool take(std::uint16_t head);
    bool take_list();
    bool take_table(device_chain&, const model::packed_descriptor&);
    void keep(const device_chain& taken);
    bool take_descriptor(device_chain&, const model::descriptor&);
};

} // namespace inflight::fuzz
