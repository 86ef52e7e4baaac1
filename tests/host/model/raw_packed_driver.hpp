// The same as raw_driver.hpp for packed rings.
#pragma once

#include "tests/host/model/raw_driver.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace inflight::tests {

class raw_packed_driver : public raw_driver {
  public:
    struct packed_queue {
        std::uint16_t size = 0;
        std::byte* descriptors = nullptr;
        std::byte* driver_area = nullptr;
        std::byte* device_area = nullptr;
        std::uint16_t next = 0; // slot that is made available next, and its wrap counter
        bool wrap = true;
        std::uint16_t next_used = 0;
        bool used_wrap = true;
        std::uint16_t free = 0;    // slots
        std::uint16_t added = 0;   // descriptors since the last decision about a notification
        std::byte* held = nullptr; // flags of the first descriptor of a batch, which are stored last
        std::uint16_t held_flags = 0;
        std::vector<std::uint16_t> ids;     // that are free
        std::vector<std::uint16_t> lengths; // in slots, by buffer id
        std::deque<std::uint16_t> order;    // ids in the order in which they were made available
    };

    using raw_driver::raw_driver;

    std::byte* slot(unsigned index, std::size_t number) { return queues[index].descriptors + 16 * number; }
    std::byte* flags_of(unsigned index, std::size_t number) { return slot(index, number) + 14; }
    static std::uint16_t available(bool wrap) { return wrap ? descriptor_flag::available : descriptor_flag::used; }
    static void turn(std::uint16_t& slot, bool& wrap, unsigned by, std::uint16_t size) {
        unsigned next = slot + by;
        if (next >= size) {
            next -= size;
            wrap = !wrap;
        }
        slot = static_cast<std::uint16_t>(next);
    }

    // Up to, and not including, what makes the queue live.
    packed_queue& prepare_packed(unsigned index, std::uint16_t size) {
        put(reg::queue_sel, index);
        get(reg::queue_ready);
        get(reg::queue_size_max);
        if (queues.size() <= index)
            queues.resize(index + 1);
        auto& q = queues[index] = packed_queue{};
        q.size = q.free = size;
        q.descriptors = zeroed(std::size_t{16} * size, 16);
        q.driver_area = zeroed(4, 4);
        q.device_area = zeroed(4, 4);
        for (std::uint16_t id = 0; id < size; ++id)
            q.ids.push_back(static_cast<std::uint16_t>(size - 1 - id));
        q.lengths.resize(size);
        put(reg::queue_size, size);
        put_address(reg::queue_desc_low, q.descriptors);
        put_address(reg::queue_driver_low, q.driver_area);
        put_address(reg::queue_device_low, q.device_area);
        return q;
    }
    void enable_packed() {
        arch::fence_doorbell();
        put(reg::queue_ready, 1);
    }
    void start_packed(std::uint64_t refused = 0, std::uint16_t size = 8, unsigned number = 1) {
        begin();
        negotiate(sensible() & ~refused);
        for (unsigned index = 0; index < number; ++index) {
            prepare_packed(index, size);
            enable_packed();
        }
        go();
    }

    // Writes a list behind those that were added and not published, and all flags but the first of the batch.
    std::uint16_t add_list(unsigned index, const std::vector<element>& elements) {
        std::vector<packed_descriptor> list;
        for (const auto& each : elements)
            list.push_back({machine_.device_address(each.memory), each.length, 0xdead,
                            each.writable ? descriptor_flag::write : std::uint16_t{0}});
        return place(index, list);
    }
    std::uint16_t add_table(unsigned index, const std::vector<element>& elements) {
        table = zeroed(16 * elements.size(), 16);
        for (std::size_t at = 0; at < elements.size(); ++at)
            store(table + 16 * at,
                  packed_descriptor{machine_.device_address(elements[at].memory), elements[at].length, 0xbeef,
                                    elements[at].writable ? descriptor_flag::write : std::uint16_t{0}});
        return place(index, {{machine_.device_address(table), static_cast<std::uint32_t>(16 * elements.size()), 0,
                              descriptor_flag::indirect}});
    }
    std::uint16_t place(unsigned index, std::vector<packed_descriptor> list) {
        auto& q = queues[index];
        const std::uint16_t id = q.ids.back();
        q.ids.pop_back();
        list.back().id = id;
        for (std::size_t at = 0; at < list.size(); ++at) {
            auto& each = list[at];
            each.flags = static_cast<std::uint16_t>(each.flags | available(q.wrap) |
                                                    (at + 1 < list.size() ? descriptor_flag::next : 0));
            std::byte* const memory = slot(index, q.next);
            store(memory, each.address);
            store(memory + 8, each.length);
            store(memory + 12, each.id);
            if (q.held == nullptr) {
                q.held = memory + 14;
                q.held_flags = each.flags;
            } else {
                store(memory + 14, each.flags);
            }
            turn(q.next, q.wrap, 1, q.size);
        }
        const auto length = static_cast<std::uint16_t>(list.size());
        q.lengths[id] = length;
        q.order.push_back(id);
        q.added = static_cast<std::uint16_t>(q.added + length);
        q.free = static_cast<std::uint16_t>(q.free - length);
        return id;
    }

    void publish_packed(unsigned index = 0, order o = {}) {
        auto& q = queues[index];
        if (o.publish)
            arch::fence_publish();
        if (q.held != nullptr)
            store(std::exchange(q.held, nullptr), q.held_flags);
        if (o.full)
            arch::fence_full();
        const auto event = look<std::uint16_t>(q.device_area);
        const auto kind = look<std::uint16_t>(q.device_area + 2);
        const auto added = std::exchange(q.added, std::uint16_t{0});
        int from_here = (event & 0x7fff) - q.next; // of the event, which is before this
        if ((event >> 15 != 0) != q.wrap)
            from_here -= q.size;
        const bool passed = from_here < 0 && -from_here <= added;
        if (!o.notify || kind == event_flag::disable || (kind == event_flag::at_descriptor && !passed))
            return;
        if (o.doorbell)
            arch::fence_doorbell();
        notify_packed(index);
    }
    void notify_packed(unsigned index = 0) {
        const auto& q = queues[index];
        const std::uint32_t data = accepts(feature::notification_data) ? q.next | (q.wrap ? 1U << 15 : 0U) : 0U;
        put(reg::queue_notify, index | data << 16);
    }

    bool next_is_used(unsigned index) {
        const auto& q = queues[index];
        const unsigned mark = descriptor_flag::available | descriptor_flag::used;
        return (look<std::uint16_t>(flags_of(index, q.next_used)) & mark) == (q.used_wrap ? mark : 0U);
    }
    // Waits for one used descriptor; no_slot if nothing can come any more. Else the id, and how many lists it retires.
    std::uint16_t reap_packed(unsigned index = 0) {
        auto& q = queues[index];
        while (!next_is_used(index)) {
            const std::uint16_t off_wrap = static_cast<std::uint16_t>(q.next_used | (q.used_wrap ? 1U << 15 : 0U));
            store(q.driver_area, off_wrap);
            store(q.driver_area + 2, accepts(feature::event_idx) ? event_flag::at_descriptor : event_flag::enable);
            arch::fence_full();
            if (next_is_used(index))
                break;
            arch::wait_for_interrupt();
            if (machine_.stalled())
                return no_slot;
        }
        arch::fence_consume();
        const std::byte* const entry = slot(index, q.next_used);
        const auto id = look<std::uint16_t>(entry + 12);
        last_length = look<std::uint32_t>(entry + 8);
        last_flags = look<std::uint16_t>(entry + 14);
        retired = 0;
        if (id >= q.size)
            return id;
        if (!accepts(feature::in_order)) {
            retire(index, std::find(q.order.begin(), q.order.end(), id));
            return id;
        }
        while (!q.order.empty()) {
            const bool last = q.order.front() == id;
            retire(index, q.order.begin());
            if (last)
                break;
        }
        return id;
    }

    std::uint8_t packed_request(std::uint32_t type, std::uint64_t sector, std::vector<element> data,
                                unsigned index = 0) {
        data.insert(data.begin(), {header(type, sector), 16, false});
        std::byte* const status = status_byte();
        data.push_back({status, 1, true});
        add_list(index, data);
        publish_packed(index);
        if (reap_packed(index) == no_slot)
            return 0xee;
        return look<std::uint8_t>(status);
    }

    std::vector<packed_queue> queues;
    std::byte* table = nullptr; // the last indirect one
    std::uint16_t last_flags = 0;
    unsigned retired = 0;

  private:
    void retire(unsigned index, std::deque<std::uint16_t>::iterator its) {
        auto& q = queues[index];
        if (its == q.order.end())
            return;
        const std::uint16_t id = *its;
        q.order.erase(its);
        q.ids.push_back(id);
        const std::uint16_t length = std::exchange(q.lengths[id], std::uint16_t{0});
        q.free = static_cast<std::uint16_t>(q.free + length);
        turn(q.next_used, q.used_wrap, length, q.size);
        ++retired;
    }
};

struct packed_world {
    explicit packed_world(blk_configuration c = {}, machine_options o = {}) : host{o}, device{host, std::move(c)} {}
    machine host;
    virtio_blk_model device;
    raw_packed_driver driver{host, device};
};

inline blk_configuration packed_configuration(std::uint64_t more = 0) {
    return with([more](auto& c) { c.features = usual_and(feature::ring_packed) | more; });
}

using broken_packed_rule = broken_rule_of<packed_world>;

inline void check_packed(const std::vector<broken_packed_rule>& rules) {
    check_rules(rules, packed_configuration());
}

} // namespace inflight::tests
