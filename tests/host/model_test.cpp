// Tests of the simulated machine and of the strict device model. The model is only worth something if it stays silent
// when a driver is right and speaks when it is wrong, so a small driver is written out here by hand, register by
// register: right by the specification, and then wrong in one point at a time.
#include "tests/model/virtio_blk_model.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace inflight;
using namespace inflight::model;
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
    void enable_queue(const ring& r) {
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
        const bool event_idx = (accepted_ >> feature::event_idx & 1) != 0;
        const bool wanted = event_idx ? event_passed(load<std::uint16_t>(r.used + 4 + 8 * r.size), r.index, before)
                                      : (load<std::uint16_t>(r.used) & 1) == 0;
        if (!wanted || !o.notify)
            return;
        if (o.doorbell)
            arch::fence_doorbell();
        const bool data = (accepted_ >> feature::notification_data & 1) != 0;
        put(reg::queue_notify, data ? index | std::uint32_t{r.index} << 16 : index);
    }
    // Waits for one used entry; no_slot if nothing can come any more.
    std::uint16_t reap(unsigned index = 0) {
        auto& r = rings[index];
        for (;;) {
            if (load<std::uint16_t>(r.used + 2) != r.last_used)
                break;
            if ((accepted_ >> feature::event_idx & 1) != 0)
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

  private:
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

blk_configuration with(const std::function<void(blk_configuration&)>& change) {
    blk_configuration c;
    change(c);
    return c;
}

blk_configuration legacy_configuration() {
    return with([](auto& c) { c.version = 1; });
}

std::uint64_t usual_and(unsigned bit, std::uint32_t version = 2) {
    return usual_features(version) | feature::bit(bit);
}
std::uint64_t usual_without(unsigned bit, std::uint32_t version = 2) {
    return usual_features(version) & ~feature::bit(bit);
}

// One rule broken.
struct broken_rule {
    const char* id;
    const char* how;
    std::function<void(blk_configuration&)> configure;
    std::function<void(world&)> act;
};

void check(const std::vector<broken_rule>& rules) {
    for (const auto& rule : rules)
        BOOST_TEST_CONTEXT(rule.id << ": " << rule.how) {
            blk_configuration c;
            if (rule.configure)
                rule.configure(c);
            world w{c};
            rule.act(w);
            BOOST_TEST(w.host.count(rule.id) > 0);
            for (const auto& each : w.host.violations())
                BOOST_TEST(each.id == rule.id, "also reported: " << each.id << ": " << each.message);
        }
}

void silent(const world& w) {
    BOOST_TEST(w.host.violations().empty(), w.host.describe());
}

void as_legacy(blk_configuration& c) {
    c.version = 1;
}

} // namespace

BOOST_AUTO_TEST_SUITE(model)

// ---- the machine

BOOST_AUTO_TEST_CASE(a_pending_interrupt_ends_the_wait_at_once_and_is_taken_when_unmasked) {
    machine host;
    unsigned taken = 0;
    host.line_handler(3, [&] {
        ++taken;
        host.lower_line(3);
    });
    BOOST_TEST(arch::mask_interrupts());
    BOOST_TEST(!arch::mask_interrupts());
    host.raise_line(3);
    const auto before = host.time();
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == before);
    BOOST_TEST(!host.stalled());
    BOOST_TEST(taken == 0U);
    arch::restore_interrupts(false);
    BOOST_TEST(taken == 0U);
    arch::restore_interrupts(true);
    BOOST_TEST(taken == 1U);
}

BOOST_AUTO_TEST_CASE(waiting_jumps_to_the_event_that_interrupts) {
    machine host;
    unsigned taken = 0, quiet = 0;
    host.line_handler(3, [&] {
        ++taken;
        host.lower_line(3);
    });
    host.at(100, [&] { ++quiet; });
    host.at(500, [&] { host.raise_line(3); });
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == 500U);
    BOOST_TEST(quiet == 1U);
    BOOST_TEST(taken == 1U);
}

BOOST_AUTO_TEST_CASE(nothing_left_to_wait_for_is_a_stall) {
    machine host;
    unsigned told = 0;
    host.on_stall([&] { ++told; });
    arch::wait_for_interrupt();
    BOOST_TEST(host.stalled());
    BOOST_TEST(!host.stall_reason().empty());
    BOOST_TEST(told == 1U);
}

BOOST_AUTO_TEST_CASE(a_deadline_interrupts_and_replaces_the_one_before) {
    machine host;
    unsigned fired = 0;
    host.on_timer_interrupt(0, [&] {
        ++fired;
        arch::set_deadline(arch::no_deadline);
    });
    arch::set_deadline(1000);
    arch::set_deadline(2000);
    arch::wait_for_interrupt();
    BOOST_TEST(host.time() == 2000U);
    BOOST_TEST(fired == 1U);
    arch::set_deadline(0); // in the past: at once
    BOOST_TEST(fired == 2U);
}

BOOST_AUTO_TEST_CASE(a_loop_with_a_deadline_ends) {
    machine host;
    const auto end = arch::now() + 100;
    unsigned rounds = 0;
    while (arch::now() < end)
        BOOST_REQUIRE(++rounds < 200);
    BOOST_TEST(rounds > 90U);
}

BOOST_AUTO_TEST_CASE(events_run_in_order_of_time_and_then_of_addition) {
    machine host;
    std::string order_seen;
    host.at(20, [&] { order_seen += 'c'; });
    host.at(10, [&] { order_seen += 'a'; });
    host.at(10, [&] { order_seen += 'b'; });
    host.run_until(20);
    BOOST_TEST(order_seen == "abc");
    BOOST_TEST(host.time() == 20U);
}

BOOST_AUTO_TEST_CASE(an_interrupt_that_nobody_quiets_is_a_storm) {
    machine host;
    unsigned taken = 0;
    host.line_handler(3, [&] { ++taken; });
    host.raise_line(3);
    BOOST_TEST(host.count("STORM") == 1U);
    BOOST_TEST(taken > 1000U);
}

BOOST_AUTO_TEST_CASE(lines_go_to_the_hart_they_are_routed_to) {
    machine host{{.harts = 2}};
    unsigned taken = 0;
    host.line_handler(3, [&] {
        ++taken;
        BOOST_TEST(arch::this_hart() == 1U);
        host.lower_line(3);
    });
    host.route_line(3, 1);
    host.raise_line(3);
    BOOST_TEST(taken == 0U);
    int one = 0;
    arch::hart_local() = &one;
    host.select_hart(1);
    BOOST_TEST(taken == 1U);
    BOOST_TEST(arch::hart_local() == nullptr);
}

BOOST_AUTO_TEST_CASE(accesses_to_nowhere_and_misaligned_ones_are_reported) {
    machine host;
    arch::mmio_read32(0x1000);
    BOOST_TEST(host.count("BUS") == 1U);
    arch::mmio_write32(0x1002, 0);
    BOOST_TEST(host.count("BUS") == 2U);
}

BOOST_AUTO_TEST_CASE(device_addresses_reach_the_memory_and_nothing_else) {
    machine host;
    std::byte* const memory = host.allocate(64, 64);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(memory) % 64 == 0U);
    BOOST_TEST(std::to_integer<int>(*memory) == 0xa5);
    const auto address = arch::device_address(memory);
    BOOST_TEST(address >= machine::memory_base);
    BOOST_TEST(host.translate(address, 64) == memory);
    BOOST_TEST(host.translate(machine::memory_base, host.options().memory_bytes) != nullptr);
    BOOST_TEST(host.translate(machine::memory_base + 1, host.options().memory_bytes) == nullptr);
    BOOST_TEST(host.translate(address, ~std::uint64_t{0}) == nullptr);
    BOOST_TEST(host.translate(0, 1) == nullptr);
    BOOST_TEST(host.violations().empty());
    int elsewhere = 0;
    BOOST_TEST(host.translate(arch::device_address(&elsewhere), 1) == nullptr);
    BOOST_TEST(host.count("RSVD-05") == 1U);
}

BOOST_AUTO_TEST_CASE(the_seed_decides_alone) {
    std::vector<std::uint64_t> first, second, other;
    for (auto* list : {&first, &second, &other}) {
        machine host{{.seed = list == &other ? 2U : 1U}};
        for (int i = 0; i < 10; ++i)
            list->push_back(host.random());
    }
    BOOST_TEST(first == second);
    BOOST_TEST(first != other);
}

// ---- right drivers

BOOST_AUTO_TEST_CASE(a_correct_driver_reads_and_writes_without_a_word) {
    for (const bool legacy : {false, true})
        for (const bool event_idx : {false, true})
            BOOST_TEST_CONTEXT("legacy " << legacy << ", event_idx " << event_idx) {
                world w{legacy ? legacy_configuration() : blk_configuration{}};
                w.device.fill(1);
                const auto mask = w.driver.sensible();
                w.driver.start(event_idx ? mask : mask & ~feature::bit(feature::event_idx));
                std::byte* const data = w.driver.buffer(1024);
                for (std::uint64_t i = 0; i < 50; ++i) {
                    BOOST_TEST(w.driver.request(request_type::in, i, {{data, 512, true}, {data + 512, 512, true}}) ==
                               0);
                    BOOST_TEST(std::memcmp(data, w.device.disk().data() + i * 512, 1024) == 0);
                    std::memset(data, static_cast<int>(i), 1024);
                    BOOST_TEST(w.driver.request(request_type::out, i * 2, {{data, 1024, false}}) == 0);
                    BOOST_TEST(std::memcmp(data, w.device.disk().data() + i * 1024, 1024) == 0);
                }
                BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
                BOOST_TEST((w.device.disk() == w.device.durable()));
                BOOST_TEST(w.device.idle());
                BOOST_TEST(w.device.counters(0).completed == 101U);
                BOOST_TEST(w.device.counters(0).superfluous == 0U);
                silent(w);
            }
}

BOOST_AUTO_TEST_CASE(batches_indirect_tables_and_several_queues_are_fine) {
    blk_configuration c;
    c.queues = 3;
    world w{c};
    w.device.behave.random_order = true;
    w.device.behave.latency_max = 500;
    w.device.behave.burst = 2;
    w.driver.start(w.driver.sensible(), 64, 3);
    std::byte* const data = w.driver.buffer(512);
    for (unsigned queue = 0; queue < 3; ++queue) {
        auto& r = w.driver.rings[queue];
        for (std::uint16_t i = 0; i < 10; ++i)
            w.driver.add(r,
                         {{w.driver.header(0, i), 16, false},
                          {w.driver.buffer(512), 512, true},
                          {w.driver.status_byte(), 1, true}},
                         i);
        w.driver.publish(queue, 10);
        w.driver.add_indirect(
            r, {{w.driver.header(1, 0), 16, false}, {data, 512, false}, {w.driver.status_byte(), 1, true}});
        w.driver.publish(queue);
    }
    for (unsigned queue = 0; queue < 3; ++queue)
        for (int i = 0; i < 11; ++i)
            BOOST_TEST(w.driver.reap(queue) != raw_driver::no_slot);
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(header_and_status_may_be_cut_anywhere) {
    world w;
    w.device.fill(3);
    w.driver.start();
    std::byte* const header = w.driver.header(0, 5);
    std::byte* const data = w.driver.buffer(513, 0xff);
    w.driver.add(w.driver.rings[0],
                 {{header, 3, false}, {header + 3, 13, false}, {data, 100, true}, {data + 100, 413, true}});
    w.driver.publish(0);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    BOOST_TEST(std::memcmp(data, w.device.disk().data() + 5 * 512, 512) == 0);
    BOOST_TEST(std::to_integer<int>(data[512]) == 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(indices_wrap) {
    machine_options o;
    o.memory_bytes = std::size_t{64} << 20;
    world w{{}, o};
    w.driver.start();
    std::byte* const header = w.driver.header(request_type::flush, 0);
    std::byte* const status = w.driver.status_byte();
    for (unsigned i = 0; i < 70'000; ++i) {
        *status = std::byte{0xff};
        w.driver.add(w.driver.rings[0], {{header, 16, false}, {status, 1, true}});
        w.driver.publish(0);
        BOOST_REQUIRE(w.driver.reap() != raw_driver::no_slot);
    }
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(other_requests_work) {
    blk_configuration c;
    c.features = usual_and(feature::lifetime) | feature::bit(feature::secure_erase);
    world w{c};
    w.device.fill(2);
    w.driver.start();
    std::byte* const identifier = w.driver.buffer(20);
    BOOST_TEST(w.driver.request(request_type::get_id, 0, {{identifier, 20, true}}) == 0);
    BOOST_TEST(std::string(reinterpret_cast<const char*>(identifier)) == "inflight-model");
    BOOST_TEST(w.driver.last_length == 21U);
    BOOST_TEST(w.driver.request(request_type::get_lifetime, 0, {{identifier, 6, true}}) == 0);
    const auto old = w.device.disk();
    BOOST_TEST(w.driver.segments(request_type::write_zeroes, {{8, 4, 1}}) == 0);
    BOOST_TEST(std::all_of(w.device.disk().begin() + 8 * 512, w.device.disk().begin() + 12 * 512,
                           [](std::byte b) { return b == std::byte{0}; }));
    BOOST_TEST(w.driver.segments(request_type::discard, {{16, 4, 0}}) == 0);
    BOOST_TEST(w.driver.segments(request_type::secure_erase, {{24, 4, 0}}) == 0);
    BOOST_TEST(std::memcmp(old.data() + 16 * 512, w.device.disk().data() + 16 * 512, 2048) != 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(whatever_a_device_may_do_a_correct_driver_stays_without_a_word) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed) {
            machine_options o;
            o.seed = seed;
            o.spurious_wake_ups = seed % 3 == 0 ? 100 : 0;
            blk_configuration c;
            c.version = seed % 4 == 0 ? 1 : 2;
            if (c.version == 2 && seed % 5 == 0)
                c.features = usual_and(feature::notification_data);
            world w{c, o};
            w.device.fill(seed);
            auto& b = w.device.behave;
            const auto often = [&] {
                return w.host.chance(500);
            };
            b.random_order = often();
            b.latency_min = 1;
            b.latency_max = 1 + w.host.random_below(500);
            b.notification_latency_max = w.host.random_below(300);
            b.burst = 1 + static_cast<unsigned>(w.host.random_below(4));
            b.spurious_chance = often() ? 100 : 0;
            b.interrupt_suppressed_chance = often() ? 200 : 0;
            b.complete_in_rearm_window = often();
            b.complete_at_acknowledge = often();
            b.undefined_interrupt_bits = often();
            b.suppress_for = often() ? w.host.random_below(400) : 0;
            b.avail_event_ahead = often() ? 4 : 0;
            b.used_flags_noise = often();
            b.avail_event_noise = often();
            b.odd_lengths = often();
            b.reset_reads = static_cast<unsigned>(w.host.random_below(3));
            if (often())
                w.device.inject(fault::scribble, 0, forever);
            const auto mask = w.driver.sensible();
            w.driver.start(often() ? mask : mask & ~feature::bit(feature::event_idx), 16);
            auto& r = w.driver.rings[0];
            unsigned outstanding = 0;
            for (unsigned done = 0; done < 500;) {
                const auto batch = static_cast<std::uint16_t>(w.host.random_below(r.free.size() / 3 + 1));
                for (std::uint16_t i = 0; i < batch; ++i)
                    w.driver.add(r,
                                 {{w.driver.header(0, w.host.random_below(8192)), 16, false},
                                  {w.driver.buffer(512), 512, true},
                                  {w.driver.status_byte(), 1, true}},
                                 i);
                if (batch != 0)
                    w.driver.publish(0, batch);
                outstanding += batch;
                for (; outstanding != 0 && (often() || r.free.size() < 3); --outstanding, ++done)
                    BOOST_REQUIRE_MESSAGE(w.driver.reap() != raw_driver::no_slot, w.host.describe());
            }
            for (; outstanding != 0; --outstanding)
                BOOST_REQUIRE_MESSAGE(w.driver.reap() != raw_driver::no_slot, w.host.describe());
            w.host.run_until(w.host.time() + 10'000);
            BOOST_TEST(w.device.idle());
            BOOST_TEST(w.device.counters(0).superfluous == 0U);
            silent(w);
        }
}

// ---- wrong drivers

BOOST_AUTO_TEST_CASE(wrong_initialisation_is_reported) {
    const auto modern_until_features = [](world& w) {
        w.driver.begin();
        w.driver.read_features();
    };
    const auto accept = [](unsigned bit) {
        return [bit](world& w) {
            w.driver.begin();
            w.driver.negotiate(w.driver.sensible() | feature::bit(bit));
        };
    };
    const auto refuse = [](unsigned bit) {
        return [bit](world& w) {
            w.driver.begin();
            w.driver.negotiate(w.driver.sensible() & ~feature::bit(bit));
        };
    };
    const auto offer = [](unsigned bit) {
        return [bit](blk_configuration& c) {
            c.features = usual_and(bit);
        };
    };
    const auto offer_legacy = [](unsigned bit) {
        return [bit](blk_configuration& c) {
            c.version = 1;
            c.features = usual_and(bit, 1);
        };
    };
    check({
        {"MMIO-24",
         "Status before the magic value",
         {},
         [](world& w) {
             w.driver.get(reg::device_id);
         }},
        {"MMIO-25",
         "reset before DeviceID",
         {},
         [](world& w) {
             w.driver.get(reg::magic_value);
             w.driver.get(reg::version);
             w.driver.reset();
         }},
        {"MMIO-06", "goes on in spite of the magic value", [](auto& c) { c.magic_value = 1; },
         [](world& w) {
             w.driver.identify();
         }},
        {"MMIO-08", "goes on in spite of the version", [](auto& c) { c.version = 3; },
         [](world& w) {
             w.driver.identify();
         }},
        {"MMIO-27", "VendorID of an empty slot", [](auto& c) { c.device_id = 0; },
         [](world& w) {
             w.driver.identify();
             w.driver.get(reg::vendor_id);
         }},
        {"INIT-01",
         "no reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.put(reg::status, 1);
         }},
        {"RST-01",
         "does not wait for the reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.put(reg::status, 0);
             w.driver.put(reg::status, 1);
         }},
        {"RST-01",
         "looks at features during the reset",
         {},
         [](world& w) {
             w.driver.identify();
             w.device.behave.reset_reads = 3;
             w.driver.put(reg::status, 0);
             w.driver.get(reg::status);
             w.driver.put(reg::device_features_sel, 0);
         }},
        {"INIT-02",
         "DRIVER without ACKNOWLEDGE",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 2);
         }},
        {"STAT-01",
         "two steps at once",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 3);
         }},
        {"STAT-01",
         "a bit that is not the driver's",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 64);
         }},
        {"STAT-02",
         "takes ACKNOWLEDGE back",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 2);
         }},
        {"STAT-03",
         "goes on after FAILED",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 128);
             w.driver.put(reg::status, 3 | 128);
         }},
        {"INIT-13",
         "writes after FAILED",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::status, 3 | 128);
             w.driver.put(reg::device_features_sel, 0);
         }},
        {"INIT-03",
         "features before DRIVER",
         {},
         [](world& w) {
             w.driver.identify();
             w.driver.reset();
             w.driver.put(reg::status, 1);
             w.driver.put(reg::device_features_sel, 0);
             w.driver.get(reg::device_features);
         }},
        {"MMIO-12",
         "DeviceFeatures without selector",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.get(reg::device_features);
         }},
        {"MMIO-13",
         "DriverFeatures without selector",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::driver_features, 0);
         }},
        {"INIT-04",
         "one word of features is not read",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.put(reg::device_features_sel, 0);
             w.driver.get(reg::device_features);
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 11);
         }},
        {"INIT-04", "one word of features is not written", [](auto& c) { c.features = usual_features(2) & 0xffffffff; },
         [&](world& w) {
             modern_until_features(w);
             w.driver.put(reg::driver_features_sel, 0);
             w.driver.put(reg::driver_features, static_cast<std::uint32_t>(w.driver.sensible()));
             w.driver.put(reg::status, 11);
         }},
        {"INIT-08",
         "features after FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::driver_features, 1);
         }},
        {"FEAT-09", "legacy features after DRIVER_OK", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::driver_features, 0);
         }},
        {"FEAT-01", "a bit that is not offered", {}, accept(feature::size_max)},
        {"FEAT-05", "an unknown bit", offer(45), accept(45)},
        {"FEAT-05", "a bit without meaning for a block device", offer(3), accept(3)},
        {"FEAT-05", "a legacy bit of a modern device", offer(feature::scsi), accept(feature::scsi)},
        {"RSVD-10", "SR_IOV", offer(feature::sr_iov), accept(feature::sr_iov)},
        {"MMIO-40", "ADMIN_VQ", offer(feature::admin_vq), accept(feature::admin_vq)},
        {"BLKZ-01", "ZONED", offer(feature::zoned), accept(feature::zoned)},
        {"RSVD-01", "refuses VERSION_1", {}, refuse(feature::version_1)},
        {"BLK-07", "refuses RO", offer(feature::read_only), refuse(feature::read_only)},
        {"RSVD-03", "refuses ACCESS_PLATFORM", offer(feature::access_platform), refuse(feature::access_platform)},
        {"RSVD-07", "refuses ORDER_PLATFORM", offer(feature::order_platform), refuse(feature::order_platform)},
        {"RSVD-06", "refuses RING_PACKED where that is not tolerated",
         [](auto& c) {
             c.features = usual_and(feature::ring_packed);
             c.tolerated.clear();
         },
         refuse(feature::ring_packed)},
        {"BLKZ-02", "DISCARD of a host-managed zoned device",
         [](auto& c) {
             c.features = usual_and(feature::zoned);
             c.zoned_model = 1;
         },
         refuse(feature::zoned)},
        {"LEG-12", "FEATURES_OK on legacy", as_legacy,
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::status, 11);
         }},
        {"LEG-13", "refuses ANY_LAYOUT", offer_legacy(feature::any_layout),
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::any_layout));
         }},
        {"LEG-14", "accepts bit 30", offer_legacy(feature::unused),
         [](world& w) {
             w.driver.start();
         }},
        {"INIT-09",
         "goes on although FEATURES_OK was refused",
         {},
         [](world& w) {
             w.device.inject(fault::features_refused);
             w.driver.begin();
             w.driver.negotiate();
             w.driver.put(reg::queue_sel, 0);
         }},
        {"INIT-09",
         "does not read Status again",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 11);
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.go();
         }},
        {"INIT-10",
         "a queue before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.prepare_queue(0);
         }},
        {"INIT-10", "a queue after DRIVER_OK", [](auto& c) { c.queues = 2; },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_sel, 1);
             w.driver.get(reg::queue_size_max);
         }},
        {"INIT-10",
         "no queue at all",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.go();
         }},
        {"INIT-07",
         "DRIVER_OK without FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             w.driver.write_features(w.driver.sensible());
             w.driver.put(reg::status, 7);
         }},
        {"INIT-11",
         "FEATURES_OK after DRIVER_OK",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::status, 7); // takes FEATURES_OK back, which is wrong by itself
             w.host.clear_violations();
             w.driver.put(reg::status, 15);
         }},
        {"INIT-14",
         "notifies before DRIVER_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_notify, 0);
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_register_access_is_reported) {
    check({
        {"MMIO-01",
         "no register there",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(0x04c);
         }},
        {"MMIO-01",
         "padding of the configuration",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read8(w.driver.at(reg::config + 33));
         }},
        {"MMIO-02",
         "writes MagicValue",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::magic_value, 0);
         }},
        {"MMIO-02",
         "writes capacity",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::config, 0);
         }},
        {"MMIO-03",
         "reads QueueNotify",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::queue_notify);
         }},
        {"MMIO-04",
         "reads 16 bits of Status",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read16(w.driver.at(reg::status));
         }},
        {"MMIO-04",
         "writes 8 bits of Status",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_write8(w.driver.at(reg::status), 0x8f);
         }},
        {"MMIO-05",
         "reads 32 bits of a 16-bit field",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config + 16);
         }},
        {"MMIO-05",
         "reads a byte of capacity",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_read8(w.driver.at(reg::config));
         }},
        {"MMIO-28",
         "shared memory",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(0x0b0);
         }},
        {"MMIOL-12", "ConfigGeneration of a legacy device", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config_generation);
         }},
        {"CFG-03",
         "two fields without the generation",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config);
             w.driver.get(reg::config + 4);
             w.driver.get(reg::status);
         }},
        {"CFG-03",
         "does not repeat when the generation has changed",
         {},
         [](world& w) {
             w.driver.start();
             w.device.inject(fault::config_change);
             w.driver.get(reg::config_generation);
             w.driver.get(reg::config);
             w.driver.get(reg::config + 4);
             w.driver.get(reg::config_generation);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"CFG-04",
         "size_max, which is not offered",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::config + 8);
         }},
        {"BLK-23", "num_queues without MQ", [](auto& c) { c.features = usual_without(feature::mq); },
         [](world& w) {
             w.driver.start();
             arch::mmio_read16(w.driver.at(reg::config + 34));
         }},
        {"BLK-04",
         "writeback before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             arch::mmio_read8(w.driver.at(reg::config + 32));
         }},
        {"INIT-06",
         "writes writeback before FEATURES_OK",
         {},
         [](world& w) {
             w.driver.begin();
             w.driver.read_features();
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"BLK-17",
         "writeback is neither 0 nor 1",
         {},
         [](world& w) {
             w.driver.start();
             arch::mmio_write8(w.driver.at(reg::config + 32), 2);
         }},
        {"BLK-17",
         "writeback without CONFIG_WCE",
         {},
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::config_wce));
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"BLK-36",
         "writeback with a request in flight",
         {},
         [](world& w) {
             w.driver.start();
             w.device.behave.hold = true;
             w.driver.add(w.driver.rings[0], {{w.driver.header(0, 0), 16, false},
                                              {w.driver.buffer(512), 512, true},
                                              {w.driver.status_byte(), 1, true}});
             w.driver.publish(0);
             w.host.run_until(w.host.time() + 1000);
             arch::mmio_write8(w.driver.at(reg::config + 32), 0);
         }},
        {"LEG-04", "capacity of a legacy device is read once", as_legacy,
         [](world& w) {
             w.driver.begin();
             w.driver.negotiate();
             w.driver.read_capacity();
             w.driver.page_size();
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.go();
         }},
        {"MMIO-20",
         "acknowledges bits that do not exist",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 4);
         }},
        {"MMIO-30",
         "acknowledges without a look",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.put(reg::interrupt_ack, 1);
             arch::fence_acknowledge();
         }},
        {"MMIO-32",
         "acknowledges what it was not shown",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 3);
             arch::fence_acknowledge();
         }},
        {"ACKNOWLEDGE",
         "looks at the ring with a weaker fence",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_used_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 1);
             arch::fence_consume();
         }},
        {"INIT-15",
         "does not look at Status after a configuration interrupt",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.raise_config_interrupt();
             w.driver.get(reg::interrupt_status);
             w.driver.put(reg::interrupt_ack, 2);
             w.driver.read_capacity();
             BOOST_TEST(!w.device.idle());
         }},
        {"BLK-05",
         "does not look at capacity after a configuration interrupt",
         {},
         [](world& w) {
             w.driver.start();
             arch::mask_interrupts();
             w.device.set_capacity(100);
             w.driver.get(reg::interrupt_status);
             w.driver.get(reg::status);
             w.driver.put(reg::interrupt_ack, 2);
             BOOST_TEST(!w.device.idle());
         }},
        {"STORM",
         "never acknowledges",
         {},
         [](world& w) {
             w.driver.start();
             w.host.line_handler(8, [&] { w.driver.get(reg::interrupt_status); });
             w.device.raise_used_interrupt();
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_queue_set_up_is_reported) {
    // Runs up to the set-up of queue 0 with each step under control.
    const auto modern = [](const std::function<void(world&)>& then) {
        return [then](world& w) {
            w.driver.begin();
            w.driver.negotiate();
            then(w);
        };
    };
    const auto legacy = [](const std::function<void(world&)>& then) {
        return [then](world& w) {
            w.driver.begin();
            w.driver.negotiate();
            w.driver.page_size();
            then(w);
        };
    };
    const auto small = [](blk_configuration& c) {
        c.queue_size_max = 4;
    };
    check({
        {"MMIO-33", "QueueSel is not written", {}, modern([](world& w) { w.driver.get(reg::queue_ready); })},
        {"MMIO-34", "QueueReady is not read", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-34", "the queue is in use", {}, modern([](world& w) {
             w.device.inject(fault::queue_in_use);
             w.driver.prepare_queue(0);
         })},
        {"MMIO-35", "QueueSizeMax is not read", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-35", "the queue does not exist", {}, modern([](world& w) {
             w.device.inject(fault::queue_size_zero);
             w.driver.prepare_queue(0);
         })},
        {"MMIO-14", "larger than the maximum", small, modern([](world& w) { w.driver.prepare_queue(0, 8); })},
        {"SPLIT-37", "no power of two", {}, modern([](world& w) { w.driver.prepare_queue(0, 6); })},
        {"MMIO-37", "addresses before the size", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.put(reg::queue_desc_low, 0);
         })},
        {"MMIO-37", "enabled without addresses", {}, modern([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_ready);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
             w.driver.put(reg::queue_ready, 1);
         })},
        {"MMIO-15", "the size of a ready queue is written", {}, modern([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIO-15", "an address of a ready queue is written", {}, modern([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.put(reg::queue_device_high, 0);
         })},
        {"MMIO-17",
         "a stopped queue is not read back",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_ready, 0);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"SPLIT-01", "a misaligned descriptor table", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_desc_low, w.driver.zeroed(256, 16) + 8);
             w.driver.enable_queue(r);
         })},
        {"SPLIT-01", "a misaligned used ring", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_device_low, w.driver.zeroed(256, 16) + 2);
             w.driver.enable_queue(r);
         })},
        {"MMIO-36", "a descriptor table that is not zero", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.descriptors[100] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"MMIO-36", "rings that overlap", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put_address(reg::queue_device_low, r.descriptors);
             w.driver.enable_queue(r);
         })},
        {"SPLIT-19", "used.flags is not 0", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[0] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"RSVD-05", "a ring outside of memory", {}, modern([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             w.driver.put(reg::queue_device_high, 7);
             w.driver.enable_queue(r);
         })},
        {"BLK-22", "a second queue without MQ",
         [](auto& c) {
             c.queues = 2;
             c.features = usual_without(feature::mq);
         },
         modern([](world& w) { w.driver.enable_queue(w.driver.prepare_queue(1)); })},
        {"VQR-04",
         "QueueReset without RING_RESET",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_reset, 1);
         }},
        {"MMIO-21", "does not wait for the queue reset", [](auto& c) { c.features = usual_and(feature::ring_reset); },
         [](world& w) {
             w.driver.start();
             w.device.behave.queue_reset_reads = 2;
             w.driver.put(reg::queue_reset, 1);
             w.driver.get(reg::queue_reset);
             w.driver.put(reg::queue_sel, 0);
         }},
        {"VQR-03", "enables a queue again without its addresses",
         [](auto& c) { c.features = usual_and(feature::ring_reset); },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_reset, 1);
             w.driver.get(reg::queue_reset);
             w.driver.get(reg::queue_ready);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
             w.driver.put(reg::queue_ready, 1);
         }},
        {"MMIOL-02", "GuestPageSize is no power of two", as_legacy,
         modern([](world& w) { w.driver.put(reg::guest_page_size, 4095); })},
        {"MMIOL-02", "a queue before GuestPageSize", as_legacy, modern([](world& w) { w.driver.prepare_queue(0); })},
        {"MMIOL-03", "QueueSel is not written", as_legacy, legacy([](world& w) { w.driver.get(reg::queue_pfn); })},
        {"MMIOL-04", "QueueSizeMax of a queue in use", as_legacy, legacy([](world& w) {
             w.driver.enable_queue(w.driver.prepare_queue(0));
             w.driver.get(reg::queue_size_max);
         })},
        {"MMIOL-05", "QueuePFN is not read", as_legacy, legacy([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.get(reg::queue_size_max);
             w.driver.put(reg::queue_size, 8);
         })},
        {"MMIOL-05", "QueuePFN is not 0", as_legacy, legacy([](world& w) {
             w.device.inject(fault::queue_in_use);
             w.driver.prepare_queue(0);
         })},
        {"MMIOL-06", "the queue does not exist", as_legacy, legacy([](world& w) {
             w.device.inject(fault::queue_size_zero);
             w.driver.prepare_queue(0);
         })},
        {"MMIOL-07", "larger than the maximum",
         [](auto& c) {
             c.version = 1;
             c.queue_size_max = 4;
         },
         legacy([](world& w) { w.driver.prepare_queue(0, 8); })},
        {"MMIOL-07", "QueueAlign before QueueSize", as_legacy, legacy([](world& w) {
             w.driver.put(reg::queue_sel, 0);
             w.driver.put(reg::queue_align, 4096);
         })},
        {"MMIOL-08", "memory that is not zero", as_legacy, legacy([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[2] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"LEG-07", "the padding belongs to someone else", as_legacy, legacy([](world& w) {
             auto& r = w.driver.prepare_queue(0);
             r.used[-1] = std::byte{1};
             w.driver.enable_queue(r);
         })},
        {"MMIOL-09", "QueueAlign is no power of two", as_legacy, legacy([](world& w) {
             w.driver.prepare_queue(0);
             w.driver.put(reg::queue_align, 100);
         })},
        {"MMIOL-10", "a page that is not in memory", as_legacy, legacy([](world& w) {
             w.driver.prepare_queue(0);
             w.driver.put(reg::queue_pfn, 1);
         })},
    });
}

BOOST_AUTO_TEST_CASE(wrong_rings_are_reported) {
    using elements = std::vector<element>;
    const auto read_request = [](world& w) {
        return elements{
            {w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {w.driver.status_byte(), 1, true}};
    };
    // Submits a read whose descriptors were changed in one way or another.
    const auto twisted = [&](const std::function<void(raw_driver::ring&, std::uint16_t)>& twist,
                             std::uint64_t refused = 0) {
        return [=](world& w) {
            w.driver.start(w.driver.sensible() & ~refused);
            auto& r = w.driver.rings[0];
            twist(r, w.driver.add(r, read_request(w)));
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 1000);
        };
    };
    const auto twisted_table = [&](const std::function<void(std::byte*)>& twist) {
        return [=](world& w) {
            w.driver.start();
            auto& r = w.driver.rings[0];
            w.driver.add_indirect(r, read_request(w));
            twist(w.driver.table_);
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 1000);
        };
    };
    const auto with_order = [&](order o) {
        return [=](world& w) {
            w.driver.start();
            for (int i = 0; i < 3; ++i) {
                w.driver.add(w.driver.rings[0], read_request(w));
                w.driver.publish(0, 1, o);
                if (w.driver.reap() == raw_driver::no_slot)
                    break;
            }
        };
    };
    const auto without_event_idx = [](world& w) {
        w.driver.start(w.driver.sensible() & ~feature::bit(feature::event_idx));
    };
    const auto flags_at = [](std::byte* table, std::size_t slot) {
        return table + 16 * slot + 12;
    };
    const auto next_at = [](std::byte* table, std::size_t slot) {
        return table + 16 * slot + 14;
    };
    const auto in_order = [](blk_configuration& c) {
        c.features = usual_and(feature::in_order);
    };
    const auto held = [&](const std::function<void(world&, std::vector<element>&)>& meddle) {
        return [=](world& w) {
            w.driver.start();
            w.device.behave.latency_min = w.device.behave.latency_max = 1000;
            elements e{{w.driver.header(1, 0), 16, false},
                       {w.driver.buffer(512), 512, false},
                       {w.driver.status_byte(), 1, true}};
            w.driver.add(w.driver.rings[0], e);
            w.driver.publish(0);
            w.host.run_until(w.host.time() + 100);
            meddle(w, e);
            w.host.run_until(w.host.time() + 2000);
        };
    };
    check({
        {"SPLIT-26", "no fence before avail.idx", {}, with_order({.publish = false})},
        {"SPLIT-27", "no full fence after avail.idx", {}, with_order({.full = false})},
        {"DOORBELL", "no fence before the notification", {}, with_order({.doorbell = false})},
        {"SPLIT-24", "no notification", {}, with_order({.notify = false})},
        {"SPLIT-22",
         "no notification, without EVENT_IDX",
         {},
         [=](world& w) {
             without_event_idx(w);
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0, 1, {.notify = false});
             BOOST_TEST(w.driver.reap() == raw_driver::no_slot);
         }},
        {"SPLIT-26",
         "the entry is written after the fence",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             for (int i = 0; i < 2; ++i) {
                 const auto elements_now = read_request(w);
                 arch::fence_publish();
                 w.driver.add(r, elements_now);
                 w.driver.publish(0, 1, {.publish = false});
                 w.driver.reap();
             }
         }},
        {"SPLIT-26",
         "the header is written after the fence",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             w.driver.add(r, e);
             arch::fence_publish();
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{7});
             w.driver.publish(0, 1, {.publish = false});
             w.driver.reap();
         }},
        {"SPLIT-11",
         "avail.idx goes back",
         {},
         [=](world& w) {
             w.driver.start();
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             store(w.driver.rings[0].available + 2, std::uint16_t{0});
             arch::fence_full();
         }},
        {"SPLIT-33",
         "an available entry that is no slot",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             w.driver.add(r, read_request(w));
             w.driver.enter(r, 8, 0);
             w.driver.publish(0);
         }},
        {"SPLIT-38",
         "a slot that is in flight",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             w.driver.enter(r, w.driver.add(r, read_request(w)), 1);
             w.driver.publish(0, 2);
         }},
        {"SPLIT-38",
         "two chains share a slot",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             const auto first = w.driver.add(r, read_request(w));
             const auto second = w.driver.add(r, read_request(w), 1);
             store(next_at(r.descriptors, second), r.slots[first][1]);
             w.driver.publish(0, 2);
             w.host.run_until(w.host.time() + 1000);
         }},
        {"SPLIT-02",
         "readable after writable",
         {},
         [=](world& w) {
             w.driver.start();
             auto e = read_request(w);
             std::swap(e[0], e[1]);
             w.driver.add(w.driver.rings[0], e);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-04", "a loop", {}, twisted([=](auto& r, auto head) {
             store(flags_at(r.descriptors, r.slots[head][2]), std::uint16_t{3});
             store(next_at(r.descriptors, r.slots[head][2]), r.slots[head][1]);
         })},
        {"SPLIT-04", "a loop in a table", {}, twisted_table([=](auto* table) {
             store(flags_at(table, 2), std::uint16_t{3});
             store(next_at(table, 2), std::uint16_t{1});
         })},
        {"SPLIT-35", "an unknown flag", {}, twisted([=](auto& r, auto head) {
             store(flags_at(r.descriptors, head), std::uint16_t{1 | 16});
         })},
        {"SPLIT-35", "next is no slot", {}, twisted([=](auto& r, auto head) {
             store(next_at(r.descriptors, head), std::uint16_t{8});
         })},
        {"SPLIT-35",
         "a table of an odd length",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             const auto head = w.driver.add_indirect(r, read_request(w));
             store(r.descriptors + 16 * head + 8, std::uint32_t{47});
             w.driver.publish(0);
             w.host.run_until(w.host.time() + 1000);
         }},
        {"SPLIT-06",
         "an indirect table without the feature",
         {},
         [=](world& w) {
             w.driver.start(w.driver.sensible() & ~feature::bit(feature::indirect_desc));
             w.driver.add_indirect(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-07", "a table in a table", {}, twisted_table([=](auto* table) {
             store(flags_at(table, 0), std::uint16_t{4});
         })},
        {"SPLIT-08",
         "a table longer than the queue",
         {},
         [=](world& w) {
             w.driver.start();
             elements e{{w.driver.header(0, 0), 16, false}};
             for (int i = 0; i < 8; ++i)
                 e.push_back({w.driver.buffer(512), 512, true});
             e.push_back({w.driver.status_byte(), 1, true});
             w.driver.add_indirect(w.driver.rings[0], e);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-09",
         "INDIRECT and NEXT",
         {},
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             const auto tail = w.driver.add(r, {{e[2].memory, 1, true}});
             e.pop_back();
             const auto head = w.driver.add_indirect(r, e);
             store(flags_at(r.descriptors, head), std::uint16_t{5});
             store(next_at(r.descriptors, head), tail);
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-03", "more descriptors than the test permits", [](auto& c) { c.max_descriptors = 2; },
         [=](world& w) {
             w.driver.start();
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-05", "a chain out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             r.free = {1, 2, 0};
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-39", "heads out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             r.free = {5, 4, 3};
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-10", "a table out of order with IN_ORDER", in_order,
         [=](world& w) {
             w.driver.start();
             auto& r = w.driver.rings[0];
             auto e = read_request(w);
             std::swap(e[1], e[2]); // places 1 and 2 are exchanged, the links put them right
             w.driver.add_indirect(r, e);
             store(next_at(w.driver.table_, 0), std::uint16_t{2});
             store(flags_at(w.driver.table_, 2), std::uint16_t{3});
             store(next_at(w.driver.table_, 2), std::uint16_t{1});
             store(flags_at(w.driver.table_, 1), std::uint16_t{2});
             w.driver.publish(0);
             w.driver.reap();
         }},
        {"SPLIT-14",
         "avail.flags with EVENT_IDX",
         {},
         [=](world& w) {
             w.driver.start();
             store(w.driver.rings[0].available, std::uint16_t{1});
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-12",
         "avail.flags 2",
         {},
         [=](world& w) {
             without_event_idx(w);
             store(w.driver.rings[0].available, std::uint16_t{2});
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-34",
         "the driver writes to the used ring",
         {},
         [=](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 0, {});
             w.driver.rings[0].used[5] = std::byte{9};
             w.driver.request(request_type::flush, 0, {});
         }},
        {"SPLIT-25", "notifies although it is not asked to", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             w.driver.start();
             w.device.behave.suppress_for = 100'000;
             w.driver.request(request_type::flush, 0, {});
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.device.counters(0).superfluous == 0U);
             arch::fence_doorbell();
             w.driver.put(reg::queue_notify, 0);
             w.driver.reap();
         }},
        {"SPLIT-21", "notifies in spite of NO_NOTIFY", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             without_event_idx(w);
             w.device.behave.suppress_for = 100'000;
             w.driver.request(request_type::flush, 0, {});
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.device.counters(0).superfluous == 0U);
             arch::fence_doorbell();
             w.driver.put(reg::queue_notify, 0);
             w.driver.reap();
         }},
        {"NOTIFY", "notifies of nothing", [](auto& c) { c.superfluous_permitted = 0; },
         [=](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 0);
         }},
        {"MMIO-38", "notifies of a queue that is not enabled", [](auto& c) { c.queues = 2; },
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 1);
         }},
        {"NOTE-01",
         "notifies with more than the index",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.put(reg::queue_notify, 1 << 16);
         }},
        {"NOTE-02", "notification data of another index",
         [](auto& c) { c.features = usual_and(feature::notification_data); },
         [=](world& w) {
             w.driver.start();
             BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
             w.driver.put(reg::queue_notify, 0 | 5 << 16);
         }},
        {"STAT-04",
         "notifies after NEEDS_RESET",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.raise_needs_reset();
             w.driver.put(reg::queue_notify, 0);
         }},
        {"RSVD-05", "a buffer outside of memory", {}, twisted([](auto& r, auto head) {
             store(r.descriptors + 16 * r.slots[head][1], std::uint64_t{0x1234});
         })},
        {"CLEAN-01", "a descriptor in flight is changed", {}, held([=](world& w, auto&) {
             store(flags_at(w.driver.rings[0].descriptors, 0), std::uint16_t{0});
         })},
        {"CLEAN-01",
         "an entry is changed before it is taken",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.behave.notification_latency_min = w.device.behave.notification_latency_max = 500;
             auto& r = w.driver.rings[0];
             w.driver.add(r, read_request(w));
             w.driver.publish(0);
             store(r.available + 4, std::uint16_t{5});
             w.driver.reap();
         }},
        {"BUFFER", "the header in flight is changed", {}, held([](world&, auto& e) {
             store(static_cast<std::byte*>(e[0].memory) + 8, std::uint64_t{1});
         })},
        {"BUFFER", "data in flight is changed", {}, held([](world&, auto& e) {
             static_cast<std::byte*>(e[1].memory)[511] = std::byte{1};
         })},
        {"IDLE",
         "a request is left in flight",
         {},
         [=](world& w) {
             w.driver.start();
             w.device.inject(fault::never_complete);
             w.driver.add(w.driver.rings[0], read_request(w));
             w.driver.publish(0);
             BOOST_TEST(w.driver.reap() == raw_driver::no_slot);
             BOOST_TEST(!w.device.idle());
         }},
    });
}

BOOST_AUTO_TEST_CASE(wrong_requests_are_reported) {
    const auto rw = [](std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
        return [=](world& w) {
            w.driver.start();
            w.driver.request(type, sector, {{w.driver.buffer(bytes), bytes, type == request_type::in}});
        };
    };
    const auto segments = [](std::uint32_t type, std::vector<std::array<std::uint64_t, 3>> list,
                             std::uint32_t bytes = 0) {
        return [=](world& w) {
            w.driver.start();
            w.driver.segments(type, list, bytes);
        };
    };
    const auto erase = [](blk_configuration& c) {
        c.features = usual_and(feature::secure_erase);
    };
    const auto read_only = [](blk_configuration& c) {
        c.features = usual_and(feature::read_only);
    };
    const auto raw = [](const std::function<std::vector<element>(world&)>& make) {
        return [=](world& w) {
            w.driver.start();
            w.driver.add(w.driver.rings[0], make(w));
            w.driver.publish(0);
            w.driver.reap();
        };
    };
    check({
        {"BLK-06", "beyond the end", {}, rw(request_type::in, 8192, 512)},
        {"BLK-06", "across the end", {}, rw(request_type::out, 8191, 1024)},
        {"BLK-06", "a sector whose sum overflows", {}, rw(request_type::in, ~std::uint64_t{0}, 512)},
        {"BLK-08",
         "a flush of a sector",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 1, {});
         }},
        {"BLK-09",
         "a flush with data",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush, 0, {{w.driver.buffer(512), 512, true}});
         }},
        {"BLK-10", "a part of a sector", {}, rw(request_type::in, 0, 513)},
        {"BLK-11", "a part of a segment", {}, segments(request_type::discard, {{0, 1, 0}}, 15)},
        {"BLK-11",
         "no segment",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::write_zeroes, 0, {});
         }},
        {"BLK-12", "a part of a segment to erase", erase, segments(request_type::secure_erase, {{0, 1, 0}}, 15)},
        {"BLK-13",
         "19 bytes for the id",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::get_id, 0, {{w.driver.buffer(19), 19, true}});
         }},
        {"BLK-14", "two segments to discard", {}, segments(request_type::discard, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-15", "two segments to erase", erase, segments(request_type::secure_erase, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-16", "two segments to zero", {}, segments(request_type::write_zeroes, {{0, 1, 0}, {2, 1, 0}})},
        {"BLK-19", "unmap in a discard", {}, segments(request_type::discard, {{0, 1, 1}})},
        {"BLK-24", "a segment above size_max",
         [](auto& c) {
             c.features = usual_and(feature::size_max);
             c.size_max = 512;
         },
         rw(request_type::in, 0, 1024)},
        {"BLK-25", "more segments than seg_max", [](auto& c) { c.seg_max = 1; },
         [](world& w) {
             w.driver.start();
             std::byte* const data = w.driver.buffer(1024);
             w.driver.request(request_type::in, 0, {{data, 512, true}, {data + 512, 512, true}});
         }},
        {"BLK-26", "a write to a read-only device", read_only, rw(request_type::out, 0, 512)},
        {"BLK-26", "a discard on a read-only device", read_only, segments(request_type::discard, {{0, 1, 0}})},
        {"BLK-27", "less than a block", [](auto& c) { c.blk_size = 4096; }, rw(request_type::in, 8, 512)},
        {"BLK-28",
         "a flush without FLUSH",
         {},
         [](world& w) {
             w.driver.start(w.driver.sensible() & ~(feature::bit(feature::flush) | feature::bit(feature::config_wce)));
             w.driver.request(request_type::flush, 0, {});
         }},
        {"BLK-28", "a discard without DISCARD", [](auto& c) { c.features = usual_without(feature::discard); },
         segments(request_type::discard, {{0, 1, 0}})},
        {"BLK-28",
         "an unknown type",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(99, 0, {});
         }},
        {"BLK-29", "no room for the status", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 16, false}};
         })},
        {"BLK-29", "a short header", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 15, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"BLK-29",
         "data to read in a write",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::out, 0, {{w.driver.buffer(512), 512, true}});
         }},
        {"BLK-30",
         "a sector in a get-id request",
         {},
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::get_id, 1, {{w.driver.buffer(20), 20, true}});
         }},
        {"BLK-31", "the reserved field is used", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0, 1), 16, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"BLK-32", "an unknown flag of a segment", {}, segments(request_type::write_zeroes, {{0, 1, 2}})},
        {"BLK-33", "a segment above its limit", [](auto& c) { c.max_discard_sectors = 8; },
         segments(request_type::discard, {{0, 9, 0}})},
        {"BLK-33", "a segment across the end", {}, segments(request_type::write_zeroes, {{8190, 3, 0}})},
        {"BLKL-05", "type 5", as_legacy,
         [](world& w) {
             w.driver.start();
             w.driver.request(request_type::flush_out, 0, {});
         }},
        {"BLKL-10", "legacy framing", as_legacy, raw([](world& w) {
             std::byte* const header = w.driver.header(4, 0);
             return std::vector<element>{{header, 8, false}, {header + 8, 8, false}, {w.driver.status_byte(), 1, true}};
         })},
        {"POISON", "the status byte is 0 beforehand", {}, raw([](world& w) {
             return std::vector<element>{{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(0), 1, true}};
         })},
    });
}

// ---- devices that misbehave

BOOST_AUTO_TEST_CASE(faults_show_in_the_used_ring) {
    const struct {
        fault what;
        std::function<bool(raw_driver::ring&, std::uint16_t head, std::uint8_t status, std::uint32_t length)> shows;
    } faults[] = {
        {fault::used_index_jump,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) > 1;
         }},
        {fault::used_index_backwards,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) > 0x8000;
         }},
        {fault::used_id_out_of_range,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) >= 8;
         }},
        {fault::used_id_free,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) > 2;
         }},
        {fault::used_id_mid_chain,
         [](auto& r, auto, auto, auto) {
             return load<std::uint32_t>(r.used + 4) == 1;
         }},
        {fault::used_duplicate,
         [](auto& r, auto, auto, auto) {
             return load<std::uint16_t>(r.used + 2) == 2;
         }},
        {fault::length_too_long,
         [](auto&, auto, auto, auto length) {
             return length > 513;
         }},
        {fault::length_too_short,
         [](auto&, auto, auto, auto length) {
             return length < 513;
         }},
        {fault::status_not_written,
         [](auto&, auto, auto status, auto) {
             return status == 0xff;
         }},
        {fault::status_unknown,
         [](auto&, auto, auto status, auto) {
             return status > 2;
         }},
        {fault::io_error,
         [](auto&, auto, auto status, auto) {
             return status == 1;
         }},
        {fault::unsupported,
         [](auto&, auto, auto status, auto) {
             return status == 2;
         }},
    };
    for (const auto& each : faults)
        BOOST_TEST_CONTEXT("fault " << static_cast<int>(each.what)) {
            world w;
            w.driver.start();
            w.device.inject(each.what);
            auto& r = w.driver.rings[0];
            std::byte* const status = w.driver.status_byte();
            const auto head = w.driver.add(
                r, {{w.driver.header(0, 0), 16, false}, {w.driver.buffer(512), 512, true}, {status, 1, true}});
            w.driver.publish(0);
            w.driver.reap();
            BOOST_TEST(w.device.fired(each.what) == 1U);
            BOOST_TEST(each.shows(r, head, std::to_integer<std::uint8_t>(*status), w.driver.last_length));
            BOOST_TEST(w.driver.interrupts == 1U);
            silent(w);
        }
}

BOOST_AUTO_TEST_CASE(a_completion_without_interrupt_stalls_the_one_who_waits) {
    world w;
    w.driver.start();
    w.device.inject(fault::no_interrupt);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0xee);
    BOOST_TEST(w.host.stalled());
}

BOOST_AUTO_TEST_CASE(scribbling_spares_the_request_under_way) {
    world w;
    w.device.fill(4);
    w.driver.start();
    w.device.inject(fault::scribble, 0, forever);
    std::byte* const data = w.driver.buffer(512);
    for (std::uint64_t i = 0; i < 20; ++i) {
        BOOST_TEST(w.driver.request(request_type::in, i, {{data, 512, true}}) == 0);
        BOOST_TEST(std::memcmp(data, w.device.disk().data() + 512 * i, 512) == 0);
    }
    BOOST_TEST(w.device.idle());
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_reset_ends_all_access_to_memory) {
    world w;
    w.driver.start();
    w.device.behave.latency_min = w.device.behave.latency_max = 10'000;
    w.device.behave.reset_reads = 2;
    w.device.inject(fault::complete_during_reset);
    std::byte* const data = w.driver.buffer(512);
    for (int i = 0; i < 2; ++i)
        w.driver.add(w.driver.rings[0],
                     {{w.driver.header(0, 0), 16, false}, {data, 512, true}, {w.driver.status_byte(), 1, true}},
                     static_cast<std::uint16_t>(i));
    w.driver.publish(0, 2);
    w.host.run_until(w.host.time() + 100);
    BOOST_TEST(w.device.in_flight() == 2U);
    w.driver.reset();
    BOOST_TEST(load<std::uint16_t>(w.driver.rings[0].used + 2) == 1);
    BOOST_TEST(w.device.in_flight() == 0U);
    std::memset(data, 0x77, 512);
    w.host.run_until(w.host.time() + 100'000);
    BOOST_TEST(std::all_of(data, data + 512, [](std::byte b) { return b == std::byte{0x77}; }));
    w.device.inject(fault::reset_never);
    w.driver.put(reg::status, 0);
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(w.driver.get(reg::status) != 0U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(the_rearm_window_and_the_acknowledgement_window_lose_nothing_for_a_correct_driver) {
    for (const bool rearm : {true, false})
        for (const bool event_idx : {true, false})
            BOOST_TEST_CONTEXT("rearm " << rearm << " event_idx " << event_idx) {
                world w;
                const auto mask = w.driver.sensible();
                w.driver.start(event_idx ? mask : mask & ~feature::bit(feature::event_idx), 64);
                (rearm ? w.device.behave.complete_in_rearm_window : w.device.behave.complete_at_acknowledge) = true;
                for (int round = 0; round < 20; ++round) {
                    for (std::uint16_t i = 0; i < 5; ++i)
                        w.driver.add(w.driver.rings[0],
                                     {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, i);
                    w.driver.publish(0, 5);
                    for (int i = 0; i < 5; ++i)
                        BOOST_REQUIRE(w.driver.reap() != raw_driver::no_slot);
                }
                BOOST_TEST(w.device.idle());
                if (rearm && event_idx)
                    BOOST_TEST(w.device.counters(0).interrupts < w.device.counters(0).completed);
                silent(w);
            }
}

BOOST_AUTO_TEST_CASE(a_driver_that_does_not_look_again_after_rearming_stalls) {
    world w;
    w.driver.start(w.driver.sensible(), 64);
    w.device.behave.complete_in_rearm_window = true;
    w.device.behave.hold = true;
    auto& r = w.driver.rings[0];
    for (std::uint16_t i = 0; i < 2; ++i)
        w.driver.add(r, {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, i);
    w.driver.publish(0, 2);
    w.host.run_until(w.host.time() + 1000);
    w.device.release(1);
    BOOST_TEST(w.driver.reap() != raw_driver::no_slot);
    store(r.available + 4 + 2 * r.size, r.last_used);
    arch::fence_full(); // the second one completes here
    BOOST_TEST(load<std::uint16_t>(r.used + 2) != r.last_used);
    arch::wait_for_interrupt();
    BOOST_TEST(w.host.stalled());
}

BOOST_AUTO_TEST_CASE(config_faults_are_seen_by_a_driver_that_loops) {
    world w;
    w.driver.start();
    w.device.inject(fault::config_tear);
    const auto capacity = w.driver.read_capacity();
    BOOST_TEST(w.device.fired(fault::config_tear) == 1U);
    BOOST_TEST(capacity == w.device.capacity());
    w.device.inject(fault::config_change, 0, 3);
    const auto changed = w.driver.read_capacity();
    BOOST_TEST(changed == w.device.capacity());
    BOOST_TEST(w.device.fired(fault::config_change) == 3U);
    w.device.inject(fault::generation_unstable, 0, forever);
    BOOST_TEST(w.driver.get(reg::config_generation) != w.driver.get(reg::config_generation));
    w.device.clear_faults();
    silent(w);
}

BOOST_AUTO_TEST_CASE(odd_interrupts_reach_the_handler) {
    world w;
    w.driver.start();
    w.device.raise_used_interrupt();
    w.device.raise_config_interrupt();
    w.device.set_capacity(10'000);
    w.device.behave.undefined_interrupt_bits = true;
    w.device.behave.spurious_chance = 1000;
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
    BOOST_TEST(w.driver.interrupts >= 5U);
    BOOST_TEST(w.device.idle());
    silent(w);
    w.device.inject(fault::interrupt_stuck, 0, forever);
    w.device.raise_used_interrupt();
    BOOST_TEST(w.host.count("STORM") == 1U);
}

BOOST_AUTO_TEST_CASE(a_removed_device_reads_all_ones) {
    world w;
    w.driver.start();
    w.device.inject(fault::removed, 1);
    BOOST_TEST(w.driver.get(reg::status) == 15U);
    BOOST_TEST(w.driver.get(reg::status) == ~0U);
    BOOST_TEST(w.driver.get(reg::magic_value) == ~0U);
    w.driver.put(reg::status, 0);
    silent(w);
}

BOOST_AUTO_TEST_CASE(needs_reset_stops_the_device) {
    world w;
    w.driver.start();
    w.device.inject(fault::needs_reset);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0xee);
    BOOST_TEST((w.device.status() & status_bit::needs_reset) != 0U);
    BOOST_TEST(w.driver.interrupts == 1U);
    w.driver.reset();
    BOOST_TEST(w.device.status() == 0U);
    silent(w);
}

// ---- durability

BOOST_AUTO_TEST_CASE(only_what_was_flushed_survives_a_power_cut) {
    world w;
    w.driver.start();
    std::byte* const ones = w.driver.buffer(512, 1);
    std::byte* const twos = w.driver.buffer(512, 2);
    const auto durable = [&](std::size_t sector) {
        return std::to_integer<int>(w.device.durable()[512 * sector]);
    };
    BOOST_TEST(w.driver.request(request_type::out, 0, {{ones, 512, false}}) == 0);
    BOOST_TEST(durable(0) == 0);
    BOOST_TEST(w.driver.request(request_type::flush, 0, {}) == 0);
    BOOST_TEST(durable(0) == 1);
    BOOST_TEST(w.driver.request(request_type::out, 0, {{twos, 512, false}}) == 0);
    arch::mmio_write8(w.driver.at(reg::config + 32), 0); // commits nothing by itself
    BOOST_TEST(durable(0) == 1);
    BOOST_TEST(w.driver.request(request_type::out, 1, {{twos, 512, false}}) == 0);
    BOOST_TEST(durable(1) == 2);
    w.device.power_cut();
    BOOST_TEST(std::to_integer<int>(w.device.disk()[0]) == 1);
    BOOST_TEST(std::to_integer<int>(w.device.disk()[512]) == 2);
    BOOST_TEST(w.device.status() == 0U);
    silent(w);
}

BOOST_AUTO_TEST_CASE(a_flush_does_not_cover_writes_that_completed_after_its_submission) {
    world w;
    w.driver.start();
    w.device.behave.latency_for = [](const request_view& r) {
        return r.type == request_type::flush ? 1000 : 10;
    };
    w.device.behave.random_order = true;
    auto& r = w.driver.rings[0];
    w.driver.add(r, {{w.driver.header(4, 0), 16, false}, {w.driver.status_byte(), 1, true}}, 0);
    w.driver.add(
        r,
        {{w.driver.header(1, 0), 16, false}, {w.driver.buffer(512, 9), 512, false}, {w.driver.status_byte(), 1, true}},
        1);
    w.driver.publish(0, 2);
    w.driver.reap();
    w.driver.reap();
    BOOST_TEST(std::to_integer<int>(w.device.disk()[0]) == 9);
    BOOST_TEST(std::to_integer<int>(w.device.durable()[0]) == 0);
    silent(w);
}

BOOST_AUTO_TEST_SUITE_END()
