// A small driver written out by hand, register by register, for the tests of the strict device model: right by the specification,
// and then wrong in one point at a time.
#pragma once

#include "tests/model/virtio_blk_model.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

namespace inflight::tests {

using namespace model;
using arch::host::machine;
using arch::host::machine_options;

struct element {
    void* memory;
    std::uint32_t length;
    bool writable;
};

// The order of memory that a submission keeps; each can be left out.
struct order {
    bool publish = true;
    bool full = true;
    bool doorbell = true;
    bool notify = true;
};

class raw_driver {
  public:
    static constexpr std::uint16_t no_slot = 0xffff;

    struct ring {
        std::uint16_t size = 0;
        std::byte* descriptors = nullptr;
        std::byte* available = nullptr;
        std::byte* used = nullptr;
        std::uint16_t index = 0;
        std::uint16_t last_used = 0;
        std::vector<std::uint16_t> free;
        std::vector<std::vector<std::uint16_t>> slots; // of the chain that starts there
    };

    raw_driver(machine& m, virtio_blk_model& d) : machine_{m}, device_{d} {
        machine_.line_handler(device_.configuration().line, [this] { handle_interrupt(); });
    }

    std::uint32_t get(std::uint64_t offset) { return arch::mmio_read32(at(offset)); }
    void put(std::uint64_t offset, std::uint32_t value) { arch::mmio_write32(at(offset), value); }
    std::uintptr_t at(std::uint64_t offset) const { return device_.configuration().base + offset; }
    bool legacy() const { return device_.configuration().version == 1; }

    void identify() {
        get(reg::magic_value);
        get(reg::version);
        get(reg::device_id);
    }
    void reset() {
        put(reg::status, 0);
        while (get(reg::status) != 0) {
        }
    }
    void begin() {
        identify();
        reset();
        put(reg::status, 1);
        put(reg::status, 3);
    }
    std::uint64_t sensible() const {
        return device_.offered() & ~(feature::bit(feature::scsi) | feature::bit(feature::notify_on_empty));
    }
    std::uint64_t read_features() {
        put(reg::device_features_sel, 0);
        std::uint64_t offered = get(reg::device_features);
        put(reg::device_features_sel, 1);
        return offered | std::uint64_t{get(reg::device_features)} << 32;
    }
    void write_features(std::uint64_t mask) {
        put(reg::driver_features_sel, 0);
        put(reg::driver_features, static_cast<std::uint32_t>(mask));
        put(reg::driver_features_sel, 1);
        put(reg::driver_features, static_cast<std::uint32_t>(mask >> 32));
    }
    void negotiate(std::uint64_t mask) {
        read_features();
        write_features(mask);
        accepted_ = mask;
        if (!legacy()) {
            put(reg::status, 11);
            get(reg::status);
        }
    }
    void negotiate() { negotiate(sensible()); }

    std::byte* zeroed(std::size_t bytes, std::size_t alignment) {
        std::byte* const memory = machine_.allocate(bytes, alignment);
        std::memset(memory, 0, bytes);
        return memory;
    }
    ring& lay_out(unsigned index, std::uint16_t size) {
        if (rings.size() <= index)
            rings.resize(index + 1);
        auto& r = rings[index];
        r = ring{};
        r.size = size;
        if (legacy()) {
            const std::size_t used = (16U * size + 2U * (3U + size) + 4095) & ~std::size_t{4095};
            r.descriptors = zeroed(used + ((6U + 8U * size + 4095) & ~std::size_t{4095}), 4096);
            r.available = r.descriptors + std::size_t{16} * size;
            r.used = r.descriptors + used;
        } else {
            r.descriptors = zeroed(std::size_t{16} * size, 16);
            r.available = zeroed(6 + std::size_t{2} * size, 2);
            r.used = zeroed(6 + std::size_t{8} * size, 4);
        }
        for (std::uint16_t slot = 0; slot < size; ++slot)
            r.free.push_back(static_cast<std::uint16_t>(size - 1 - slot));
        r.slots.resize(size);
        return r;
    }
    void put_address(std::uint64_t offset, const void* memory) {
        const std::uint64_t address = machine_.device_address(memory);
        put(offset, static_cast<std::uint32_t>(address));
        put(offset + 4, static_cast<std::uint32_t>(address >> 32));
    }
    void put_addresses(const ring& r) {
        put_address(reg::queue_desc_low, r.descriptors);
        put_address(reg::queue_driver_low, r.available);
        put_address(reg::queue_device_low, r.used);
    }
    // Up to, and not including, what makes the queue live.
    ring& prepare_queue(unsigned index, std::uint16_t size = 8) {
        put(reg::queue_sel, index);
        get(legacy() ? reg::queue_pfn : reg::queue_ready);
        get(reg::queue_size_max);
        auto& r = lay_out(index, size);
        put(reg::queue_size, size);
        if (legacy())
            put(reg::queue_align, 4096);
        else
            put_addresses(r);
        return r;
    }
    void enable_queue(const ring& r, bool fence = true) {
        if (fence)
            arch::fence_doorbell();
        if (legacy())
            put(reg::queue_pfn, static_cast<std::uint32_t>(machine_.device_address(r.descriptors) / 4096));
        else
            put(reg::queue_ready, 1);
    }
    void go() { put(reg::status, legacy() ? 7 : 15); }
    void page_size() {
        if (legacy())
            put(reg::guest_page_size, 4096);
    }

    // everything, right
    void start(std::uint64_t mask, std::uint16_t size = 8, unsigned queues = 1) {
        begin();
        negotiate(mask);
        page_size();
        rings.reserve(queues);
        for (unsigned index = 0; index < queues; ++index)
            enable_queue(prepare_queue(index, size));
        go();
    }
    void start() { start(sensible()); }

    descriptor entry_for(const element& e) const {
        return {machine_.device_address(e.memory), e.length, e.writable ? descriptor_flag::write : std::uint16_t{0}, 0};
    }
    static void store_descriptor(std::byte* table, std::size_t slot, const descriptor& d) {
        store(table + 16 * slot, d);
    }
    // Builds a chain and enters it behind avail.idx, `ahead` places further on.
    std::uint16_t add(ring& r, const std::vector<element>& elements, std::uint16_t ahead = 0) {
        std::vector<std::uint16_t> slots;
        for (std::size_t i = 0; i < elements.size(); ++i) {
            slots.push_back(r.free.back());
            r.free.pop_back();
        }
        for (std::size_t i = 0; i < elements.size(); ++i) {
            descriptor d = entry_for(elements[i]);
            if (i + 1 < elements.size()) {
                d.flags = static_cast<std::uint16_t>(d.flags | descriptor_flag::next);
                d.next = slots[i + 1];
            }
            store_descriptor(r.descriptors, slots[i], d);
        }
        r.slots[slots[0]] = slots;
        enter(r, slots[0], ahead);
        return slots[0];
    }
    std::uint16_t add_indirect(ring& r, const std::vector<element>& elements) {
        std::byte* const table = zeroed(16 * elements.size(), 16);
        for (std::size_t i = 0; i < elements.size(); ++i) {
            descriptor d = entry_for(elements[i]);
            if (i + 1 < elements.size()) {
                d.flags = static_cast<std::uint16_t>(d.flags | descriptor_flag::next);
                d.next = static_cast<std::uint16_t>(i + 1);
            }
            store_descriptor(table, i, d);
        }
        const std::uint16_t slot = r.free.back();
        r.free.pop_back();
        store_descriptor(r.descriptors, slot,
                         {machine_.device_address(table), static_cast<std::uint32_t>(16 * elements.size()),
                          descriptor_flag::indirect, 0});
        r.slots[slot] = {slot};
        enter(r, slot, 0);
        table_ = table;
        return slot;
    }
    void enter(ring& r, std::uint16_t head, std::uint16_t ahead) {
        store(r.available + 4 + 2 * ((r.index + ahead) % r.size), head);
    }
    void publish(unsigned index, std::uint16_t count = 1, order o = {}) {
        auto& r = rings[index];
        if (o.publish)
            arch::fence_publish();
        const std::uint16_t before = r.index;
        r.index = static_cast<std::uint16_t>(r.index + count);
        store(r.available + 2, r.index);
        if (o.full)
            arch::fence_full();
        const bool wanted = accepts(feature::event_idx)
                                ? event_passed(load<std::uint16_t>(r.used + 4 + 8 * r.size), r.index, before)
                                : (load<std::uint16_t>(r.used) & 1) == 0;
        if (!wanted || !o.notify)
            return;
        if (o.doorbell)
            arch::fence_doorbell();
        put(reg::queue_notify, accepts(feature::notification_data) ? index | std::uint32_t{r.index} << 16 : index);
    }
    // Waits for one used entry; no_slot if nothing can come any more.
    std::uint16_t reap(unsigned index = 0) {
        auto& r = rings[index];
        for (;;) {
            if (load<std::uint16_t>(r.used + 2) != r.last_used)
                break;
            if (accepts(feature::event_idx))
                store(r.available + 4 + 2 * r.size, r.last_used);
            arch::fence_full();
            if (load<std::uint16_t>(r.used + 2) != r.last_used)
                break;
            arch::wait_for_interrupt();
            if (machine_.stalled())
                return no_slot;
        }
        arch::fence_consume();
        const std::byte* const entry = r.used + 4 + 8 * (r.last_used++ % r.size);
        const auto head = load<std::uint32_t>(entry);
        last_length = load<std::uint32_t>(entry + 4);
        if (head < r.size) {
            r.free.insert(r.free.end(), r.slots[head].rbegin(), r.slots[head].rend());
            r.slots[head].clear();
        }
        return static_cast<std::uint16_t>(head);
    }

    std::byte* header(std::uint32_t type, std::uint64_t sector, std::uint32_t reserved = 0) {
        std::byte* const memory = machine_.allocate(16, 16);
        store(memory, type);
        store(memory + 4, reserved);
        store(memory + 8, sector);
        return memory;
    }
    std::byte* status_byte(std::uint8_t poison = 0xff) {
        std::byte* const memory = machine_.allocate(1, 1);
        *memory = std::byte{poison};
        return memory;
    }
    // A whole request, and its status.
    std::uint8_t request(std::uint32_t type, std::uint64_t sector, std::vector<element> data, unsigned index = 0) {
        data.insert(data.begin(), {header(type, sector), 16, false});
        std::byte* const status = status_byte();
        data.push_back({status, 1, true});
        add(rings[index], data);
        publish(index);
        if (reap(index) == no_slot)
            return 0xee;
        return std::to_integer<std::uint8_t>(*status);
    }
    std::uint8_t segments(std::uint32_t type, const std::vector<std::array<std::uint64_t, 3>>& list,
                          std::uint32_t bytes = 0) {
        std::byte* const memory = machine_.allocate(16 * list.size(), 16);
        for (std::size_t i = 0; i < list.size(); ++i) {
            store(memory + 16 * i, list[i][0]);
            store(memory + 16 * i + 8, static_cast<std::uint32_t>(list[i][1]));
            store(memory + 16 * i + 12, static_cast<std::uint32_t>(list[i][2]));
        }
        const auto length = bytes != 0 ? bytes : static_cast<std::uint32_t>(16 * list.size());
        return request(type, 0, {{memory, length, false}});
    }
    std::byte* buffer(std::size_t bytes, unsigned fill = 0x5a) {
        std::byte* const memory = machine_.allocate(bytes, 16);
        std::memset(memory, static_cast<int>(fill), bytes);
        return memory;
    }

    void handle_interrupt() {
        ++interrupts;
        const std::uint32_t events = get(reg::interrupt_status) & 3;
        if (events == 0)
            return;
        if ((events & interrupt_config) != 0) {
            get(reg::status);
            read_capacity();
        }
        put(reg::interrupt_ack, events);
        arch::fence_acknowledge();
    }
    std::uint64_t read_capacity() {
        std::uint32_t before = 0, after = 0;
        std::uint64_t value = 0;
        do {
            before = legacy() ? 0 : get(reg::config_generation);
            value = get(reg::config) | std::uint64_t{get(reg::config + 4)} << 32;
            after = legacy() ? 0 : get(reg::config_generation);
        } while (before != after);
        return value;
    }

    std::vector<ring> rings;
    std::byte* table_ = nullptr; // the last indirect one
    std::uint32_t last_length = 0;
    unsigned interrupts = 0;

  protected:
    bool accepts(unsigned bit) const { return (accepted_ >> bit & 1) != 0; }

    machine& machine_;
    virtio_blk_model& device_;
    std::uint64_t accepted_ = 0;
};

struct world {
    explicit world(blk_configuration c = {}, machine_options o = {}) : host{o}, device{host, std::move(c)} {}
    machine host;
    virtio_blk_model device;
    raw_driver driver{host, device};
};

inline blk_configuration with(const std::function<void(blk_configuration&)>& change) {
    blk_configuration c;
    change(c);
    return c;
}

inline blk_configuration legacy_configuration() {
    return with([](auto& c) { c.version = 1; });
}

inline std::uint64_t usual_and(unsigned bit, std::uint32_t version = 2) {
    return usual_features(version) | feature::bit(bit);
}

inline std::uint64_t usual_without(unsigned bit, std::uint32_t version = 2) {
    return usual_features(version) & ~feature::bit(bit);
}

// One rule broken.
template <class World>
struct broken_rule_of {
    const char* id;
    const char* how;
    std::function<void(blk_configuration&)> configure;
    std::function<void(World&)> act;
};
using broken_rule = broken_rule_of<world>;

template <class World>
void check_rules(const std::vector<broken_rule_of<World>>& rules, const blk_configuration& usual) {
    for (const auto& rule : rules)
        BOOST_TEST_CONTEXT(rule.id << ": " << rule.how) {
            blk_configuration c = usual;
            if (rule.configure)
                rule.configure(c);
            World w{c};
            rule.act(w);
            BOOST_TEST(w.host.count(rule.id) > 0);
            for (const auto& each : w.host.violations())
                BOOST_TEST(each.id == rule.id, "also reported: " << each.id << ": " << each.message);
        }
}

inline void check(const std::vector<broken_rule>& rules) {
    check_rules(rules, {});
}

template <class World>
void silent(const World& w) {
    BOOST_TEST(w.host.violations().empty(), w.host.describe());
}

inline void as_legacy(blk_configuration& c) {
    c.version = 1;
}

// A field as a driver reads it.
template <typename T>
T look(const std::byte* field) {
    return reinterpret_cast<const arch::host::device_word<T>*>(field)->load(std::memory_order_relaxed);
}

// One read, completed and not looked at yet. Returns its status byte.
inline const std::byte* complete_one(world& w) {
    w.driver.start();
    std::byte* const status = w.driver.status_byte();
    w.driver.add(w.driver.rings[0],
                 {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {status, 1, true}});
    w.driver.publish(0);
    w.host.run_until(w.host.time() + 1'000);
    return status;
}

} // namespace inflight::tests
